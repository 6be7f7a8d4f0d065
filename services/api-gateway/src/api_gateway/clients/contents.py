"""The bytes of small blobs, such as image configurations: whole, and from memory when they are there."""

from __future__ import annotations

from api_gateway import metrics
from api_gateway.clients.blobs import wrong_length
from api_gateway.clients.instances import BlobInstances
from api_gateway.memory import LinkedBlob, Memory
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import unary
from moorage.v1 import blob_pb2

# Bytes of the largest blob that is small.
SMALL = 64 * 1024


class SmallBlobs:
    """Gets small blobs; `timeout` is a call's deadline in seconds."""

    def __init__(self, instances: BlobInstances, memory: Memory, *, timeout: float) -> None:
        self._instances = instances
        self._memory = memory
        self._timeout = timeout

    async def content(self, blob: LinkedBlob) -> bytes | None:
        """A small blob's bytes, verified by the blob service.

        None if the blob is to be read as a large one is: it is not small, small ones are not kept, or the
        service is unavailable in this way, which the others need not share. Raises RegistryError:
        BLOB_UNKNOWN, and UNKNOWN when the blob is of another length.
        """
        if blob.size > SMALL or not self._memory.is_on:
            return None
        kept = self._memory.content(blob.digest)
        if kept is not None:
            metrics.CONTENT_HITS.inc()
            return kept
        metrics.CONTENT_MISSES.inc()
        instance = await self._instances.for_key(blob.digest)
        request = blob_pb2.GetRequest(digest=blob.digest, max_size=SMALL)
        try:
            content = (await unary(instance.store.Get, request, timeout=self._timeout)).content
        except RegistryError as error:
            if error.code is ErrorCode.UNAVAILABLE:
                return None
            if error.code is not ErrorCode.SIZE_INVALID:
                raise
            # Its descriptor says that it is small: it is not the client who asked for too much.
            raise wrong_length() from error
        if len(content) != blob.size:
            raise wrong_length()
        self._memory.keep_content(blob.digest, content)
        return content
