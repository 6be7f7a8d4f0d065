"""The RADOS driver: the interface over folders, references and stripes (each module says what it promises).

The order of the steps is the same everywhere: data first, then the entry that refers to it; and the other way
round when something goes. What a crash leaves behind is garbage that `check.py` finds, never an entry
without data.
"""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import structlog

from blob_service.cancellation import run_to_completion
from blob_service.drivers.errors import DriverError, PathNotFoundError
from blob_service.drivers.interface import (
    FileInfo,
    FileReader,
    FileWriter,
    Finding,
    RedirectRequest,
    StorageDriver,
    no_findings,
)
from blob_service.drivers.paths import ROOT, join
from blob_service.drivers.rados import references
from blob_service.drivers.rados.check import PoolCheck
from blob_service.drivers.rados.failures import storage_errors
from blob_service.drivers.rados.folders import FOLDER, Folders
from blob_service.drivers.rados.leases import Lease
from blob_service.drivers.rados.names import new_data_id, stripe_name
from blob_service.drivers.rados.pool import OMAP_PAGE, Pool
from blob_service.drivers.rados.reader import RadosReader
from blob_service.drivers.rados.settings import MIN_CHUNK_SIZE, NAME
from blob_service.drivers.rados.stripes import DataInfo, Stripes
from blob_service.drivers.rados.writer import RadosWriter, open_existing, open_new
from blob_service.drivers.walk import walk_tree

_T = TypeVar("_T")

# Entries of a folder that are looked up or removed at once.
_AT_ONCE = 16
_NS = 1_000_000_000

_log = structlog.get_logger(__name__)


class RadosDriver(StorageDriver):
    """Keeps everything in one namespace of a pool, which others may use at the same time."""

    def __init__(self, pool: Pool, *, chunksize: int, lease: float) -> None:
        self._pool = pool
        self._folders = Folders(pool)
        self._stripes = Stripes(pool, chunksize)
        self._lease = lease

    @property
    def name(self) -> str:
        """`rados`."""
        return NAME

    async def get_content(self, path: str) -> bytes:
        """See `StorageDriver.get_content`."""

        async def read(data: str) -> bytes:
            start = await self._pool.read(stripe_name(data, 0), 0, MIN_CHUNK_SIZE)
            if len(start) < MIN_CHUNK_SIZE:
                return start
            info = await self._stripes.describe(data)
            async with RadosReader(self._stripes, path, data, info, 0, info.size) as reader:
                return b"".join([chunk async for chunk in reader])

        with storage_errors(path):
            return await self._with_data(path, read)

    async def put_content(self, path: str, content: bytes) -> None:
        """See `StorageDriver.put_content`. A call that is cancelled once it has begun is completed."""
        with storage_errors(path):
            await run_to_completion(self._put(path, content))

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        """See `StorageDriver.reader`."""
        with storage_errors(path):
            data, info = await self._with_data(path, self._described)
        end = info.size if length is None else min(info.size, offset + length)
        return RadosReader(self._stripes, path, data, info, offset, end)

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        """See `StorageDriver.writer`."""
        lease = Lease(self._pool, path, self._lease)
        opening = asyncio.ensure_future(self._open_writer(lease, path, append=append))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            writer = await run_to_completion(_outcome(opening))
            if writer is not None:
                await run_to_completion(writer.close())
            raise

    async def stat(self, path: str) -> FileInfo:
        """See `StorageDriver.stat`."""
        with storage_errors(path):
            if path == ROOT:
                # Whether the pool answers, for whoever asks after its health.
                await self._folders.page(ROOT, limit=1)
                return _folder_info(ROOT)
            if await self._folders.entry(path) == FOLDER:
                return _folder_info(path)
            _, info = await self._with_data(path, self._described)
            return _file_info(path, info)

    async def list(
        self, path: str, *, after: str = "", limit: int | None = None, having: str = ""
    ) -> builtins.list[str]:
        """See `StorageDriver.list`."""
        found: builtins.list[str] = []
        with storage_errors(path):
            await self._check_folder(path)
            while limit is None or len(found) < limit:
                wanted = OMAP_PAGE if limit is None else min(OMAP_PAGE, limit - len(found))
                page = await self._folders.page(path, after=after, limit=wanted)
                if not page:
                    break
                after = page[-1][0]
                children = [join(path, name) for name, _ in page]
                if having:
                    there = await _each(children, lambda child: self._folders.has(child, having))
                    children = [child for child, has in zip(children, there, strict=True) if has]
                found += children
        return found

    async def move(self, source: str, destination: str) -> None:
        """See `StorageDriver.move`. A call that is cancelled once it has begun is completed."""
        with storage_errors(source):
            await run_to_completion(self._move(source, destination))

    async def delete(self, path: str) -> None:
        """See `StorageDriver.delete`. A call that is cancelled once it has begun is completed."""
        with storage_errors(path):
            await run_to_completion(self._delete(path))

    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        """None: a client cannot reach the pool."""
        return None

    def walk(
        self, path: str, *, start_after: str = "", descend: Callable[[FileInfo], bool] | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """See `StorageDriver.walk`."""
        return walk_tree(self._folder_infos, path, start_after=start_after, descend=descend)

    def check(
        self, *, repair: bool, older_than: float, thorough: bool = True
    ) -> AsyncGenerator[Finding, None]:
        """See `StorageDriver.check`, and `check.py`."""
        if not thorough:
            return no_findings()
        return PoolCheck(
            self._pool, self._folders, self._stripes, repair=repair, older_than=older_than
        ).findings()

    async def close(self) -> None:
        """See `StorageDriver.close`: waits for the operations under way, and disconnects."""
        await self._pool.close()

    async def _with_data(self, path: str, use: Callable[[str], Awaitable[_T]]) -> _T:
        """Use a file's data, or what has replaced it if it goes meanwhile. Raises PathNotFoundError."""
        missing = None
        while True:
            data = await self._file(path)
            try:
                return await use(data)
            except FileNotFoundError as error:
                if data == missing:
                    raise DriverError(NAME, f"{path}: its data {data} is lost") from error
                missing = data

    async def _file(self, path: str) -> str:
        """The data of the file at a path. Raises PathNotFoundError if there is none."""
        data = await self._folders.entry(path)
        if not data:
            raise PathNotFoundError(path)
        return data

    async def _described(self, data: str) -> tuple[str, DataInfo]:
        return data, await self._stripes.describe(data)

    async def _check_folder(self, path: str) -> None:
        """Raise PathNotFoundError unless there is a folder with something in it. The root is always there."""
        if not await self._folders.page(path, limit=1) and path != ROOT:
            raise PathNotFoundError(path)

    async def _folder_infos(self, folder: str) -> builtins.list[FileInfo]:
        async def info(entry: tuple[str, str]) -> FileInfo | None:
            name, data = entry
            path = join(folder, name)
            if data == FOLDER:
                return _folder_info(path)
            try:
                return _file_info(path, await self._stripes.describe(data))
            except FileNotFoundError:
                # Deleted or replaced since the page was read.
                try:
                    return await self.stat(path)
                except PathNotFoundError:
                    return None

        with storage_errors(folder):
            await self._check_folder(folder)
            infos = await _each(await self._folders.all(folder), info)
        return [info for info in infos if info is not None]

    async def _put(self, path: str, content: bytes) -> None:
        data = new_data_id()
        try:
            await _both(self._stripes.store(data, content), self._folders.check_way(path))
        except BaseException:
            await self._discard(data, path)
            raise
        await self._refer_anew(path, data)

    async def _refer_anew(self, path: str, data: str) -> None:
        """Let a path refer to new data, and remove what it referred to before; or, if it may not, the new."""
        try:
            before = await self._refer(path, data)
        except DriverError:
            await self._discard(data, path)
            raise
        if before is not None and before != data:
            await self._discard(before, path)

    async def _refer(self, path: str, data: str) -> str | None:
        """Let a path refer to data; gives what it referred to before.

        Raises DriverError, and nothing is done, if a folder is there, or a file where a folder is needed.
        """
        while True:
            before = await self._folders.entry(path)
            if before == FOLDER:
                raise DriverError(NAME, f"{path}: a folder is where a file is to be")
            if await self._folders.exchange(path, before, data):
                break
        try:
            await self._folders.link(path)
        except DriverError:
            await self._take_back(path, data, before)
            raise
        return before

    async def _move(self, source: str, destination: str) -> None:
        data = await self._file(source)
        if source == destination:
            return
        await self._folders.check_way(destination)
        await references.add(self._pool, data, source, destination)
        try:
            before = await self._refer(destination, data)
        except DriverError:
            await self._quietly(source, references.drop(self._pool, data, destination))
            raise
        if not await self._folders.remove(source, data):
            # Somebody else moved, replaced or deleted it first.
            await self._take_back(destination, data, before)
            raise PathNotFoundError(source)
        await self._quietly(source, references.drop(self._pool, data, source))
        if before is not None and before != data:
            await self._discard(before, destination)

    async def _take_back(self, path: str, data: str, before: str | None) -> None:
        """Undo `_refer`, unless somebody has changed the entry since."""
        if before == data:
            return
        if before is None:
            undone = await self._folders.remove(path, data)
        else:
            undone = await self._folders.exchange(path, data, before)
        if undone:
            await self._discard(data, path)
        elif before is not None:
            await self._discard(before, path)

    async def _delete(self, path: str) -> None:
        entry = await self._folders.entry(path)
        if entry is None:
            raise PathNotFoundError(path)
        if entry == FOLDER:
            await self._delete_folder(path)
        else:
            await self._delete_file(path, entry)

    async def _delete_file(self, path: str, data: str) -> None:
        while not await self._folders.remove(path, data):
            found = await self._folders.entry(path)
            if not found:
                return
            data = found
        await self._discard(data, path)

    async def _delete_folder(self, folder: str) -> None:
        # First what is in it, so that a crash leaves part of it and nothing out of sight. Then its
        # entry, and again what somebody may have put there meanwhile.
        await self._empty(folder)
        await self._folders.remove(folder, FOLDER)
        while not await self._folders.remove_if_empty(folder):
            await self._empty(folder)

    async def _empty(self, folder: str) -> None:
        async def remove(entry: tuple[str, str]) -> None:
            name, data = entry
            path = join(folder, name)
            await (self._delete_folder(path) if data == FOLDER else self._delete_file(path, data))

        while page := await self._folders.page(folder):
            await _each(page, remove)

    async def _open_writer(self, lease: Lease, path: str, *, append: bool) -> RadosWriter:
        with storage_errors(path):
            await lease.acquire()
            try:
                if append:
                    data = await self._file(path)
                    info, dead = await open_existing(self._pool, self._stripes, data, lease.token)
                else:
                    data, dead = new_data_id(), ""
                    info = await self._create(path, data, lease.token)
            except BaseException:
                await lease.release()
                raise
        return RadosWriter(self._pool, self._folders, self._stripes, lease, path, data, info, dead)

    async def _create(self, path: str, data: str, token: str) -> DataInfo:
        try:
            info, _ = await _both(open_new(self._pool, data, token), self._folders.check_way(path))
        except BaseException:
            await self._discard(data, path)
            raise
        await self._refer_anew(path, data)
        return info

    async def _discard(self, data: str, path: str) -> None:
        await self._quietly(path, self._stripes.discard(data, path))

    async def _quietly(self, path: str, tidying: Awaitable[None]) -> None:
        """Tidy up after what has happened already: if that fails, only garbage stays."""
        try:
            await tidying
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning(
                "data that nothing refers to is left in the pool: see moorage storage check",
                path=path,
                error=os.strerror(error.errno or 0),
            )


def _file_info(path: str, info: DataInfo) -> FileInfo:
    return FileInfo(path, info.size, info.modified * _NS, is_dir=False)


def _folder_info(path: str) -> FileInfo:
    return FileInfo(path, 0, 0, is_dir=True)


async def _outcome(opening: asyncio.Future[RadosWriter]) -> RadosWriter | None:
    await asyncio.wait((opening,))
    return None if opening.exception() is not None else opening.result()


async def _both(first: Awaitable[_T], second: Awaitable[Any]) -> tuple[_T, Any]:
    """The results of two calls made at once; raises what one of them raises, when both are through."""
    results: tuple[_T | BaseException, Any] = await asyncio.gather(first, second, return_exceptions=True)
    one, other = results
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other


async def _each(items: Iterable[Any], call: Callable[[Any], Awaitable[_T]]) -> list[_T]:
    """What `call` gives for each item, in order, a few at once. Raises, at the end, what one raised."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Any) -> _T:
        async with turns:
            return await call(item)

    results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    found: list[_T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found
