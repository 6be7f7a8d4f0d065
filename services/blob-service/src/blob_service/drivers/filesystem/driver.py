"""The filesystem driver: the interface over `FileTree`, whose calls it runs in its own threads.

Layout: a driver path is a path below `rootdirectory`, a file a file and a folder a folder, as in
distribution, so the two can take turns on one folder.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from copy import copy
from typing import Any, TypeVar

from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.filesystem.failures import storage_error
from blob_service.drivers.filesystem.reader import FilesystemReader
from blob_service.drivers.filesystem.tree import FileTree
from blob_service.drivers.filesystem.writer import FilesystemWriter
from blob_service.drivers.interface import (
    FileInfo,
    FileReader,
    FileWriter,
    Finding,
    RedirectRequest,
    StorageDriver,
)
from blob_service.drivers.paths import ROOT, join
from blob_service.drivers.threads import ThreadPool
from blob_service.drivers.walk import walk_tree

_T = TypeVar("_T")

NAME = "filesystem"
LEFTOVER = "a file that was never put in its place"

# Parts in which the calls for one request are made, at most, and how many calls are worth one: on a local
# disk a call is shorter than the way to another thread, on a network's it is not.
_PARTS = 4
_CALLS_IN_PART = 16


class FilesystemDriver(StorageDriver):
    """Keeps everything below `root`, which need not exist yet and may be reached through symbolic links.

    Links below the root are not followed: a call that meets one raises DriverError. The file system must
    support flock(2), by which at most one writer, of all processes, has a file. What is large is written past
    the page cache if `direct`, and if the file system can.
    """

    def __init__(self, root: str, *, threads: int, direct: bool = True) -> None:
        self._tree = FileTree(root)
        self._pool = ThreadPool(NAME, threads)
        self._direct = direct

    def make_root(self) -> None:
        """Make the root if it is missing; blocks. Raises OSError if it cannot be made or is not a folder."""
        self._tree.make_root()

    @property
    def name(self) -> str:
        """`filesystem`."""
        return NAME

    @property
    def transient(self) -> StorageDriver:
        """See `StorageDriver.transient`: a file's folder is not synced, only what is in the file."""
        driver = copy(self)
        driver._tree = self._tree.transient()
        return driver

    def parts(self, calls: int) -> int:
        """See `StorageDriver.parts`."""
        return min(-(-calls // _CALLS_IN_PART), _PARTS)

    async def together(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """See `StorageDriver.together`: in one thread, and once begun to the end."""
        return await self._pool.together(work)

    async def get_content(self, path: str) -> bytes:
        """See `StorageDriver.get_content`."""
        return await self._run(path, lambda: self._tree.read(path))

    async def put_content(self, path: str, content: bytes) -> None:
        """See `StorageDriver.put_content`. A call that is cancelled once it has begun is completed."""
        await self._run(path, lambda: self._tree.replace(path, content))

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        """See `StorageDriver.reader`."""
        descriptor, size = await self._run(path, lambda: self._tree.open_to_read(path), discard=_close)
        end = size if length is None else min(size, offset + length)
        return FilesystemReader(self._pool, path, descriptor, offset, end)

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        """See `StorageDriver.writer`."""
        descriptor, size = await self._run(
            path,
            lambda: self._tree.open_to_write(path, append=append),
            discard=_close,
        )
        # Of an empty file whose name need not be durable nothing need be.
        clean = not append and not self._tree.durable
        return FilesystemWriter(
            self._pool, self._tree, path, descriptor, size, direct=self._direct, clean=clean
        )

    async def stat(self, path: str) -> FileInfo:
        """See `StorageDriver.stat`."""
        return await self._run(path, lambda: self._tree.stat(path))

    async def list(
        self, path: str, *, after: str = "", limit: int | None = None, having: str = ""
    ) -> builtins.list[str]:
        """See `StorageDriver.list`."""
        return await self._run(
            path, lambda: self._tree.children(path, after=after, limit=limit, having=having)
        )

    async def move(self, source: str, destination: str) -> None:
        """See `StorageDriver.move`."""
        await self._run(source, lambda: self._tree.rename(source, destination))

    async def delete(self, path: str) -> None:
        """See `StorageDriver.delete`."""
        await self._run(path, lambda: self._tree.remove(path))

    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        """None: a client cannot reach the folder."""
        return None

    def walk(
        self, path: str, *, start_after: str = "", descend: Callable[[FileInfo], bool] | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """See `StorageDriver.walk`."""

        async def read_folder(folder: str) -> builtins.list[FileInfo]:
            return await self._run(folder, lambda: self._tree.infos(folder))

        return walk_tree(read_folder, path, start_after=start_after, descend=descend)

    async def check(
        self, *, repair: bool, older_than: float, thorough: bool = True
    ) -> AsyncGenerator[Finding, None]:
        """See `StorageDriver.check`: finds what an interrupted `put_content` left."""
        if not thorough:
            return
        before = time.time_ns() - int(older_than * 1e9)
        for name in await self._leftovers(ROOT, before, remove=repair):
            yield Finding(LEFTOVER, name, repaired=repair)
        async for info in self.walk(ROOT):
            if info.is_dir:
                for name in await self._leftovers(info.path, before, remove=repair):
                    yield Finding(LEFTOVER, name, repaired=repair)

    async def _leftovers(self, folder: str, before: int, *, remove: bool) -> builtins.list[str]:
        try:
            names = await self._run(
                folder, lambda: self._tree.leftovers(folder, before=before, remove=remove)
            )
        except PathNotFoundError:
            # Deleted since its parent was read.
            return []
        return [join(folder, name) for name in names]

    async def close(self) -> None:
        """See `StorageDriver.close`: waits for the calls under way, and ends the threads."""
        await self._pool.close()

    async def _run(
        self,
        path: str,
        call: Callable[[], _T],
        *,
        discard: Callable[[_T], None] | None = None,
    ) -> _T:
        try:
            return await self._pool.run(call, discard=discard)
        except OSError as error:
            raise storage_error(NAME, path, error) from error


def _close(opened: tuple[int, int]) -> None:
    os.close(opened[0])
