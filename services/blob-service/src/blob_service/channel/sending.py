"""Writing parts of a blob to a client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from blob_service.blobs import Blobs
from blob_service.channel.client import Client
from blob_service.drivers.interface import DriverError
from blob_service.drivers.threads import ThreadPool
from blob_service.failures import parse_digest, storage_failures
from blob_service.metrics import BLOB_READ_BYTES
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2

# Less than this goes out in one piece with its head, read as any driver reads.
_SMALL = 64 * 1024


class Sending:
    """One SendLoan. `moved` counts the blob's bytes that were written."""

    def __init__(self, blobs: Blobs, threads: ThreadPool, work: blob_pb2.SendLoan) -> None:
        self._blobs = blobs
        self._threads = threads
        self._work = work
        self.moved = 0

    async def run(self, client: Client, started: Callable[[], Awaitable[None]]) -> None:
        """Write everything; `started` is awaited before the first byte.

        Raises RegistryError BLOB_UNKNOWN, UNAVAILABLE, or UNKNOWN if the blob is not as long as the caller
        thinks; and ClientGoneError.
        """
        digest = parse_digest(self._work.digest)
        with storage_failures():
            await self._check(digest)
            for number, part in enumerate(self._work.parts):
                await self._send_part(client, digest, part, None if number else started)
            await client.send(self._work.tail)

    async def _check(self, digest: Digest) -> None:
        size = self._work.size
        if not self._work.parts or any(
            part.offset < 0 or part.length < 1 or part.offset + part.length > size
            for part in self._work.parts
        ):
            raise RegistryError(ErrorCode.RANGE_INVALID, {"size": size})
        found = await self._blobs.stat([digest])
        if found and found[0].size != size:
            raise RegistryError(ErrorCode.UNKNOWN, message="the blob is not as long as its descriptor says")

    async def _send_part(
        self,
        client: Client,
        digest: Digest,
        part: blob_pb2.SendLoan.Part,
        started: Callable[[], Awaitable[None]] | None,
    ) -> None:
        async with await self._blobs.read(digest, part.offset, part.length) as reader:
            descriptor = reader.descriptor
            if descriptor is None or part.length <= _SMALL:
                head = part.head
                async for chunk in reader:
                    if started is not None:
                        await started()
                        started = None
                    await client.send(head, chunk)
                    self.moved += len(chunk)
                    head = b""
                return
            if started is not None:
                await started()
            await client.send(part.head, more=True)
            before = client.written
            try:
                await client.send_file(self._threads, descriptor, part.offset, part.length)
            except (EOFError, OSError) as error:
                raise DriverError(self._threads.driver, error) from error
            finally:
                self.moved += client.written - before
                BLOB_READ_BYTES.inc(client.written - before)
