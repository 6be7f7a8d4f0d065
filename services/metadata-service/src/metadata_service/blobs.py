"""Client of the blob service's BlobStore: the bytes behind the links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metadata_service.blob_service import BlobService
from moorage.concurrency import for_each
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2

DIGESTS_PER_CALL = 256
_CALLS = 4


class Blobs:
    """The blobs, by canonical digest. Every method raises RegistryError when the storage fails."""

    def __init__(self, service: BlobService) -> None:
        self._service = service

    async def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """The size in bytes of each blob that is there; the others are left out."""

        async def stat(part: Sequence[str]) -> blob_pb2.StatResponse:
            request = blob_pb2.StatRequest(digests=part)
            return await self._service.call(lambda instance: instance.blobs.Stat, request)

        names = [str(digest) for digest in digests]
        parts = [names[start : start + DIGESTS_PER_CALL] for start in range(0, len(names), DIGESTS_PER_CALL)]
        replies = await for_each(stat, parts, limit=_CALLS)
        return {Digest.parse(each.digest): each.size for reply in replies for each in reply.descriptors}

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

    async def put(self, content: bytes, digest: Digest) -> None:
        """Store content under its canonical digest, durable.

        Raises RegistryError (DIGEST_INVALID), and nothing is stored, if `digest` is not the content's.
        """
        request = blob_pb2.PutRequest(content=content, digest=str(digest))
        await self._service.call(lambda instance: instance.blobs.Put, request)
