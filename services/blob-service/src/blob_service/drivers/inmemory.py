"""The in-memory driver: a tree in this process, for tests. It keeps every promise but durability.

No method is suspended while it changes the tree, so each call is atomic for the tasks of an event loop.
"""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from blob_service.drivers.base import BoundedDriver
from blob_service.drivers.errors import (
    DriverError,
    PathNotFoundError,
    WriterBusyError,
    WriterClosedError,
)
from blob_service.drivers.interface import (
    CHUNK_SIZE,
    FileInfo,
    FileReader,
    FileWriter,
    RedirectRequest,
    StorageDriver,
)
from blob_service.drivers.paths import components, join, split
from blob_service.drivers.walk import folder_reader, walk_tree

NAME = "inmemory"


def create(parameters: Mapping[str, Any]) -> StorageDriver:
    """An empty in-memory driver. It has no parameters."""
    return BoundedDriver(InMemoryDriver())


@dataclass(slots=True, eq=False)
class _File:
    content: bytearray
    modified_ns: int = field(default_factory=time.time_ns)
    has_writer: bool = False

    def append(self, data: memoryview) -> None:
        self.content += data
        self.modified_ns = time.time_ns()


@dataclass(slots=True, eq=False)
class _Folder:
    children: dict[str, _File | _Folder] = field(default_factory=dict)
    modified_ns: int = field(default_factory=time.time_ns)


class InMemoryDriver(StorageDriver):
    """Keeps files in memory until the process ends. A folder outlives its last file."""

    def __init__(self) -> None:
        self._root = _Folder()

    @property
    def name(self) -> str:
        """`inmemory`."""
        return NAME

    async def get_content(self, path: str) -> bytes:
        """See `StorageDriver.get_content`."""
        return bytes(self._file(path).content)

    async def put_content(self, path: str, content: bytes) -> None:
        """See `StorageDriver.put_content`."""
        self._place(path, _File(bytearray(content)))

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        """See `StorageDriver.reader`."""
        content = self._file(path).content
        end = len(content) if length is None else min(len(content), offset + length)
        return _MemoryReader(content, offset, end)

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        """See `StorageDriver.writer`."""
        found = self._find(path)
        if isinstance(found, _File) and found.has_writer:
            raise WriterBusyError(path)
        if append:
            file = self._file(path)
        else:
            file = _File(bytearray())
            self._place(path, file)
        return _MemoryWriter(self, path, file)

    async def stat(self, path: str) -> FileInfo:
        """See `StorageDriver.stat`."""
        match self._find(path):
            case None:
                raise PathNotFoundError(path)
            case _File() as file:
                return FileInfo(path, len(file.content), file.modified_ns, is_dir=False)
            case _Folder() as folder:
                return FileInfo(path, 0, folder.modified_ns, is_dir=True)

    async def list(
        self, path: str, *, after: str = "", limit: int | None = None, having: str = ""
    ) -> builtins.list[str]:
        """See `StorageDriver.list`."""
        folder = self._find(path)
        if not isinstance(folder, _Folder):
            raise PathNotFoundError(path)
        children = (join(path, name) for name in sorted(folder.children) if name > after)
        if having:
            children = (child for child in children if self._find(join(child, having)) is not None)
        return list(islice(children, limit))

    async def move(self, source: str, destination: str) -> None:
        """See `StorageDriver.move`."""
        file = self._file(source)
        if source != destination:
            self._place(destination, file)
            self._remove(source)

    async def delete(self, path: str) -> None:
        """See `StorageDriver.delete`."""
        if self._find(path) is None:
            raise PathNotFoundError(path)
        self._remove(path)

    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        """None: there is nowhere to redirect to."""
        return None

    def walk(
        self, path: str, *, start_after: str = "", descend: Callable[[FileInfo], bool] | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """See `StorageDriver.walk`."""
        return walk_tree(folder_reader(self), path, start_after=start_after, descend=descend)

    async def close(self) -> None:
        """Forget everything."""
        self._root = _Folder()

    def holds(self, path: str, file: _File) -> bool:
        """Whether `file` is what is at the path."""
        return self._find(path) is file

    def remove_if_held(self, path: str, file: _File) -> None:
        """Remove `file`, unless it was deleted or replaced before."""
        if self.holds(path, file):
            self._remove(path)

    def _find(self, path: str) -> _File | _Folder | None:
        node: _File | _Folder | None = self._root
        for name in components(path):
            if not isinstance(node, _Folder):
                return None
            node = node.children.get(name)
        return node

    def _file(self, path: str) -> _File:
        node = self._find(path)
        if not isinstance(node, _File):
            raise PathNotFoundError(path)
        return node

    def _place(self, path: str, file: _File) -> None:
        folder, name = self._folder_to_write(path)
        if isinstance(folder.children.get(name), _Folder):
            raise DriverError(NAME, f"{path}: a folder is where a file is to be")
        folder.children[name] = file
        folder.modified_ns = time.time_ns()

    def _remove(self, path: str) -> None:
        parent, name = split(path)
        folder = self._find(parent)
        if isinstance(folder, _Folder):
            del folder.children[name]
            folder.modified_ns = time.time_ns()

    def _folder_to_write(self, path: str) -> tuple[_Folder, str]:
        parent, name = split(path)
        folder = self._root
        for component in components(parent):
            node = folder.children.setdefault(component, _Folder())
            if isinstance(node, _File):
                raise DriverError(NAME, f"{path}: a file is where a folder is needed")
            folder = node
        return folder, name


class _MemoryReader(FileReader):
    def __init__(self, content: bytearray, position: int, end: int) -> None:
        self._content = content
        self._position = position
        self._end = end

    async def __anext__(self) -> bytes:
        # Storage in memory is always ready; other tasks get their turn all the same.
        await asyncio.sleep(0)
        size = min(CHUNK_SIZE, self._end - self._position)
        if size <= 0:
            raise StopAsyncIteration
        with memoryview(self._content) as view:
            chunk = bytes(view[self._position : self._position + size])
        self._position += size
        return chunk

    async def aclose(self) -> None:
        """See `FileReader.aclose`."""
        self._end = self._position


class _MemoryWriter(FileWriter):
    """Adds to a file that is in the tree already."""

    def __init__(self, driver: InMemoryDriver, path: str, file: _File) -> None:
        self._driver = driver
        self._path = path
        self._file = file
        self._size = len(file.content)
        self._committed = False
        self._closed = False
        file.has_writer = True

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """See `FileWriter.write`."""
        self._check_writable()
        view = memoryview(data).cast("B")
        self._file.append(view)
        self._size += len(view)
        await asyncio.sleep(0)
        return len(view)

    async def flush(self) -> None:
        """See `FileWriter.flush`."""
        self._check_writable()
        if not self._driver.holds(self._path, self._file):
            raise PathNotFoundError(self._path)

    async def commit(self) -> None:
        """See `FileWriter.commit`."""
        await self.flush()
        self._committed = True

    async def cancel(self) -> None:
        """See `FileWriter.cancel`."""
        self._check_writable()
        self._driver.remove_if_held(self._path, self._file)
        self._release()

    async def close(self) -> None:
        """See `FileWriter.close`."""
        try:
            if not (self._committed or self._closed):
                await self.flush()
        finally:
            self._release()

    def _check_writable(self) -> None:
        if self._committed or self._closed:
            raise WriterClosedError(self._path)

    def _release(self) -> None:
        if not self._closed:
            self._closed = True
            self._file.has_writer = False
