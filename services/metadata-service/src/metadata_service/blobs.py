"""Client of the blob service's BlobStore: the bytes behind the links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metadata_service.blob_service import BlobService
from moorage.concurrency import Together, for_each
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2

DIGESTS_PER_CALL = 256
_CALLS = 4


class Blobs:
    """The blobs, by canonical digest. Every method raises RegistryError when the storage fails."""

    def __init__(self, service: BlobService) -> None:
        self._service = service
        self._single = Together(service.unhurried(self._sizes), most=DIGESTS_PER_CALL)

    async def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """The size in bytes of each blob that is there; the others are left out."""
        asked = list(digests)
        if len(asked) == 1:
            sizes = [await self._single.get(asked[0])]
        else:
            parts = [
                asked[start : start + DIGESTS_PER_CALL] for start in range(0, len(asked), DIGESTS_PER_CALL)
            ]
            sizes = [size for part in await for_each(self._sizes, parts, limit=_CALLS) for size in part]
        return {digest: size for digest, size in zip(asked, sizes, strict=True) if size is not None}

    async def _sizes(self, digests: Sequence[Digest]) -> list[int | None]:
        request = blob_pb2.StatRequest(digests=[str(digest) for digest in digests])
        reply = await self._service.call(lambda instance: instance.blobs.Stat, request)
        sizes = {each.digest: each.size for each in reply.descriptors}
        return [sizes.get(str(digest)) for digest in digests]

    async def get(self, digest: Digest, *, max_size: int) -> bytes | None:
        """A small blob's content; None if it is not there or damaged, or larger than `max_size` bytes."""
        request = blob_pb2.GetRequest(digest=str(digest), max_size=max_size)
        try:
            reply = await self._service.call(lambda instance: instance.blobs.Get, request)
        except RegistryError as error:
            if error.code in {ErrorCode.BLOB_UNKNOWN, ErrorCode.SIZE_INVALID}:
                return None
            raise
        return reply.content

    async def page(self, after: str, limit: int) -> tuple[list[Digest], bool]:
        """The digests of all blobs after a digest ("" for none), at most `limit`; whether more follow."""
        request = blob_pb2.ListBlobsRequest(after=after, limit=limit)
        reply = await self._service.call(lambda instance: instance.blobs.List, request)
        return [Digest.parse(each) for each in reply.digests], reply.more

    async def delete(self, digest: Digest) -> None:
        """Remove a blob's bytes, if they are there."""
        request = blob_pb2.DeleteRequest(digest=str(digest))
        try:
            await self._service.call(lambda instance: instance.blobs.Delete, request)
        except RegistryError as error:
            if error.code is not ErrorCode.BLOB_UNKNOWN:
                raise
