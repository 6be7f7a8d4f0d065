"""Client of the blob service's ObjectStore: the small objects below `repositories/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from metadata_service.blob_service import BlobService
from moorage.concurrency import Together, for_each
from moorage.digest import Digest
from moorage.v1 import blob_pb2

# A call's request and reply stay far below the largest message.
PATHS_PER_CALL = 256
# Calls of one batch at a time.
_CALLS = 4

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Folder:
    """A page of the names in a folder, in byte order."""

    found: bool
    names: tuple[str, ...]
    # There are more names than the limit let through.
    truncated: bool


class Objects:
    """The objects, by absolute path. Every method raises RegistryError when the storage fails."""

    def __init__(self, service: BlobService) -> None:
        self._service = service
        self._single = Together(service.unhurried(self._get), most=PATHS_PER_CALL)

    async def get(self, paths: Sequence[str]) -> list[bytes | None]:
        """The objects' contents, in the order of `paths`; None for what is not there."""
        if len(paths) == 1:
            return [await self._single.get(paths[0])]
        parts = await for_each(self._get, _parts(paths), limit=_CALLS)
        return [content for part in parts for content in part]

    async def _get(self, paths: Sequence[str]) -> list[bytes | None]:
        request = blob_pb2.GetObjectsRequest(paths=paths)
        reply = await self._service.call(lambda instance: instance.objects.GetObjects, request)
        return [each.content if each.found else None for each in reply.objects]

    async def link(
        self, digest: Digest, objects: Sequence[tuple[str, bytes]], *, content: bytes | None = None
    ) -> int:
        """Make sure of a blob's bytes, then write objects that lead to it, in order, each whole and durable.

        With `content`, a small blob is stored; without it, it has to be there. Returns how many bytes it has.
        When it fails or is cut off, a first part is written. Raises RegistryError (BLOB_UNKNOWN); and
        DIGEST_INVALID for content of another digest; nothing is written then.
        """
        size = 0
        for part in _parts(objects):
            request = blob_pb2.LinkRequest(
                digest=str(digest),
                content=content,
                objects=[blob_pb2.LinkRequest.Object(path=path, content=link) for path, link in part],
            )
            reply = await self._service.call(lambda instance: instance.objects.Link, request)
            size, content = reply.descriptor.size, None
        return size

    async def exist(self, paths: Sequence[str]) -> list[bool]:
        """Whether each path is there, as a file or a folder."""

        async def exist(part: Sequence[str]) -> list[bool]:
            request = blob_pb2.StatObjectsRequest(paths=part)
            reply = await self._service.call(lambda instance: instance.objects.StatObjects, request)
            return [each.found for each in reply.infos]

        parts = await for_each(exist, _parts(paths), limit=_CALLS)
        return [found for part in parts for found in part]

    async def list_folder(self, path: str, *, after: str = "", limit: int, having: str = "") -> Folder:
        """At most `limit` (1 or more) of a folder's names that are greater than `after`.

        Only children below which the relative path `having` exists.
        """
        return (await self._list([path], after, limit, having))[0]

    async def list_folders(self, paths: Sequence[str], *, limit: int) -> list[Folder]:
        """The first `limit` names of each folder."""

        async def list_part(part: Sequence[str]) -> list[Folder]:
            return await self._list(part, "", limit, "")

        parts = await for_each(list_part, _parts(paths), limit=_CALLS)
        return [folder for part in parts for folder in part]

    async def delete(self, paths: Sequence[str]) -> frozenset[str]:
        """Remove paths one after the other, folders with all that is in them; the paths that were there."""
        deleted: set[str] = set()
        for part in _parts(paths):
            request = blob_pb2.DeleteObjectsRequest(paths=part)
            reply = await self._service.call(lambda instance: instance.objects.DeleteObjects, request)
            deleted.update(reply.deleted)
        return frozenset(deleted)

    async def _list(self, paths: Sequence[str], after: str, limit: int, having: str) -> list[Folder]:
        request = blob_pb2.ListObjectsRequest(paths=paths, after=after, limit=limit, having=having)
        reply = await self._service.call(lambda instance: instance.objects.ListObjects, request)
        return [Folder(each.found, tuple(each.names), each.truncated) for each in reply.folders]


def _parts(items: Sequence[_T]) -> list[Sequence[_T]]:
    return [items[start : start + PATHS_PER_CALL] for start in range(0, len(items), PATHS_PER_CALL)]
