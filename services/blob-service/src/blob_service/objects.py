"""Small objects below the repositories' folder, for the metadata service: links, tags, referrers.

A fence stands around them: no call reaches a path outside that folder, or any repository's uploads.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from blob_service.driver_calls import gather_calls
from blob_service.drivers.interface import FileInfo, InvalidPathError, PathNotFoundError, StorageDriver
from blob_service.drivers.paths import check_path, check_relative
from blob_service.layout import REPOSITORIES, UPLOADS
from moorage.errors import ErrorCode, RegistryError

# How many paths one call may name, how large one object may be, and how much one reply may hold: it has to
# fit a gRPC message.
MAX_PATHS = 1000
MAX_OBJECT_BYTES = 8 * 1024 * 1024
MAX_REPLY_BYTES = 12 * 1024 * 1024

# What a name costs in a reply beside its characters.
_NAME_OVERHEAD = 8

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Folder:
    """Names of a folder's children in byte order; `truncated` when there are more."""

    names: Sequence[str]
    truncated: bool


class Objects:
    """The objects of one storage driver.

    Every call raises RegistryError NAME_INVALID for a path beyond the fence and SIZE_INVALID for more than
    MAX_PATHS paths; nothing has happened then.
    """

    def __init__(self, driver: StorageDriver) -> None:
        self._driver = driver

    async def get(self, paths: Sequence[str]) -> list[bytes | None]:
        """Each object's content, None for what is not there, in the order of the request.

        Raises RegistryError SIZE_INVALID (HTTP status 413) when they are more than fits a reply.
        """
        _check_paths(paths)
        budget = MAX_REPLY_BYTES

        async def get_one(path: str) -> bytes | None:
            nonlocal budget
            content = await self._driver.get_content(path)
            # Some are read at once, so this may let a few too many pass; what counts is below.
            budget -= len(content) + _NAME_OVERHEAD
            if budget < 0:
                raise _too_large(MAX_REPLY_BYTES)
            return content

        contents = await gather_calls(self._driver, _or_none(get_one), paths)
        if sum(len(each) + _NAME_OVERHEAD for each in contents if each is not None) > MAX_REPLY_BYTES:
            raise _too_large(MAX_REPLY_BYTES)
        return contents

    async def put_after(self, first: Callable[[], Awaitable[_R]], objects: Sequence[tuple[str, bytes]]) -> _R:
        """Await `first`, then write each object whole, atomically and durably, one after the other.

        Returns what `first` gave. Stops at the first error. Raises RegistryError SIZE_INVALID (HTTP status
        413) for an object over MAX_OBJECT_BYTES; then, and if `first` raises, nothing is written.
        """
        _check_objects(objects)
        result = await first()
        await self._driver.together(lambda: self._put(objects))
        return result

    async def put_behind(self, path: str, objects: Sequence[tuple[str, bytes]]) -> int:
        """As `put_after`, if there is a file at `path` (behind no fence); the bytes that it has.

        Raises PathNotFoundError, and writes nothing, if there is none.
        """
        _check_objects(objects)

        async def put() -> int:
            info = await self._driver.stat(path)
            if info.is_dir:
                raise PathNotFoundError(path)
            await self._put(objects)
            return info.size

        return await self._driver.together(put)

    async def _put(self, objects: Sequence[tuple[str, bytes]]) -> None:
        for path, content in objects:
            await self._driver.put_content(path, content)

    async def stat(self, paths: Sequence[str]) -> list[FileInfo | None]:
        """What is at each path, in the order of the request."""
        _check_paths(paths, folder_itself=True)
        return await gather_calls(self._driver, _or_none(self._driver.stat), paths)

    async def list(
        self, paths: Sequence[str], *, after: str, limit: int | None, having: str
    ) -> builtins.list[Folder | None]:
        """The names of each folder's children, None for what is no folder, in the order of the request.

        Only names greater than `after`; only those below which the relative path `having` exists, unless it
        is empty; of these the first `limit` (None for all), but never more than fit a reply. Raises
        RegistryError PAGINATION_NUMBER_INVALID for a negative limit.
        """
        _check_paths(paths, folder_itself=True)
        if having:
            _check_having(having)
        if limit is not None and limit < 0:
            raise RegistryError(ErrorCode.PAGINATION_NUMBER_INVALID, {"n": limit})

        async def list_one(path: str) -> Folder:
            asked = None if limit is None else limit + 1
            children = await self._driver.list(path, after=after, limit=asked, having=having)
            names = [child.rpartition("/")[2] for child in children]
            kept = names if limit is None else names[:limit]
            return Folder(kept, len(kept) < len(names))

        folders = await gather_calls(self._driver, _or_none(list_one), paths)
        return _cut_to_reply(folders)

    async def delete(self, paths: Sequence[str]) -> builtins.list[str]:
        """Remove each path, recursively and durably, one after the other; returns those that were there."""
        _check_paths(paths)
        deleted = []

        async def delete_each() -> None:
            for path in paths:
                try:
                    await self._driver.delete(path)
                except PathNotFoundError:
                    continue
                deleted.append(path)

        await self._driver.together(delete_each)
        return deleted


def _or_none(
    call: Callable[[str], Coroutine[Any, Any, _R]],
) -> Callable[[str], Coroutine[Any, Any, _R | None]]:
    async def tolerant(path: str) -> _R | None:
        try:
            return await call(path)
        except PathNotFoundError:
            return None

    return tolerant


def _cut_to_reply(folders: Sequence[Folder | None]) -> list[Folder | None]:
    budget = MAX_REPLY_BYTES
    cut: list[Folder | None] = []
    for folder in folders:
        if folder is None:
            cut.append(None)
            continue
        kept: list[str] = []
        for name in folder.names:
            budget -= len(name) + _NAME_OVERHEAD
            if budget < 0:
                break
            kept.append(name)
        cut.append(Folder(kept, folder.truncated or len(kept) < len(folder.names)))
    return cut


def _check_objects(objects: Sequence[tuple[str, bytes]]) -> None:
    _check_paths([path for path, _ in objects])
    if any(len(content) > MAX_OBJECT_BYTES for _, content in objects):
        raise _too_large(MAX_OBJECT_BYTES)


def _check_paths(paths: Sequence[str], *, folder_itself: bool = False) -> None:
    """Refuse paths beyond the fence; the repositories' folder itself is within it only where said."""
    if len(paths) > MAX_PATHS:
        raise RegistryError(ErrorCode.SIZE_INVALID, {"paths": len(paths), "limit": MAX_PATHS})
    for path in paths:
        if not (path.startswith(f"{REPOSITORIES}/") or (folder_itself and path == REPOSITORIES)):
            raise _beyond_fence(path, f"not below {REPOSITORIES}")
        try:
            check_path(path)
        except InvalidPathError:
            raise _beyond_fence(path, "not a path") from None
        if UPLOADS in path.split("/"):
            raise _beyond_fence(path, "uploads are not objects")


def _check_having(path: str) -> None:
    try:
        check_relative(path)
    except InvalidPathError:
        raise _beyond_fence(path, "not a relative path") from None
    if UPLOADS in path.split("/"):
        raise _beyond_fence(path, "uploads are not objects")


def _beyond_fence(path: str, reason: str) -> RegistryError:
    return RegistryError(ErrorCode.NAME_INVALID, {"path": path[:256], "reason": reason})


def _too_large(limit: int) -> RegistryError:
    return RegistryError(ErrorCode.SIZE_INVALID, {"limit": limit}, http_status=413)
