"""Writing parts of a blob to a client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from blob_service.blobs import BlobReader, Blobs
from blob_service.channel.client import Client
from blob_service.drivers.interface import DriverError
from blob_service.drivers.threads import ThreadPool
from blob_service.failures import blob_unknown, parse_digest, storage_failures
from blob_service.metrics import BLOB_READ_BYTES
from blob_service.streams import ReadAhead
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2

# An answer of no more than this goes out in one piece, read as any driver reads.
_SMALL = 64 * 1024

_Part = blob_pb2.SendLoan.Part


class Sending:
    """One SendLoan: writes to `client`. `on_start` is awaited before the first byte is."""

    def __init__(
        self,
        blobs: Blobs,
        threads: ThreadPool,
        work: blob_pb2.SendLoan,
        client: Client,
        *,
        on_start: Callable[[], Awaitable[None]],
    ) -> None:
        self._blobs = blobs
        self._threads = threads
        self._parts = list(work.parts) or [_Part()]
        self._work = work
        self._client = client
        self._on_start = on_start
        # Whether a byte may have been written.
        self.started = False

    @property
    def moved(self) -> int:
        """Bytes of the blob that were written."""
        moved, written = 0, self._client.written
        for part in self._parts:
            written -= len(part.head)
            moved += max(0, min(written, part.length))
            written -= part.length
        return moved

    async def run(self) -> None:
        """Write everything.

        Raises RegistryError BLOB_UNKNOWN, UNAVAILABLE, or UNKNOWN if the blob is not as long as the caller
        thinks; and ClientGoneError.
        """
        digest = parse_digest(self._work.digest)
        with storage_failures():
            async with self._opened(digest, self._parts[0]) as reader:
                descriptor = reader.descriptor
                await self._check_size(digest, descriptor)
                if self._length() <= _SMALL:
                    await self._send_whole(digest, reader)
                elif descriptor is not None:
                    await self._send_file(descriptor)
                else:
                    await self._send_chunks(digest, reader)

    async def _send_whole(self, digest: Digest, reader: BlobReader) -> None:
        pieces = [self._parts[0].head, *[chunk async for chunk in reader]]
        for part in self._parts[1:]:
            async with self._opened(digest, part) as more:
                pieces += [part.head, *[chunk async for chunk in more]]
        await self._start()
        await self._client.send(*pieces, self._work.tail)

    async def _send_file(self, descriptor: int) -> None:
        await self._start()
        for part in self._parts:
            await self._client.send(part.head, more=True)
            before = self._client.written
            try:
                await self._client.send_file(self._threads, descriptor, part.offset, part.length)
            except (EOFError, OSError) as error:
                raise DriverError(self._threads.driver, error) from error
            finally:
                BLOB_READ_BYTES.inc(self._client.written - before)
        await self._client.send(self._work.tail)

    async def _send_chunks(self, digest: Digest, reader: BlobReader) -> None:
        await self._send_part(self._parts[0], reader)
        for part in self._parts[1:]:
            async with self._opened(digest, part) as more:
                await self._send_part(part, more)
        await self._client.send(self._work.tail)

    async def _send_part(self, part: _Part, reader: BlobReader) -> None:
        head = part.head
        async with aclosing(ReadAhead(reader)) as chunks:
            async for chunk in chunks:
                await self._start()
                await self._client.send(head, chunk)
                head = b""
        await self._client.send(head)

    async def _start(self) -> None:
        if not self.started:
            self.started = True
            await self._on_start()

    def _length(self) -> int:
        """Bytes of the whole answer."""
        return sum(len(part.head) + part.length for part in self._parts) + len(self._work.tail)

    async def _check_size(self, digest: Digest, descriptor: int | None) -> None:
        if descriptor is not None:
            size = os.fstat(descriptor).st_size
        else:
            found = await self._blobs.stat([digest])
            if not found:
                raise blob_unknown(digest)
            size = found[0].size
        if size != self._work.size or any(
            part.offset < 0 or part.length < 0 or part.offset + part.length > size for part in self._parts
        ):
            raise _other_size()

    @asynccontextmanager
    async def _opened(self, digest: Digest, part: _Part) -> AsyncIterator[BlobReader]:
        try:
            reader = await self._blobs.read(digest, part.offset, part.length)
        except RegistryError as error:
            if error.code is ErrorCode.RANGE_INVALID:
                raise _other_size() from error
            raise
        async with reader:
            yield reader


def _other_size() -> RegistryError:
    return RegistryError(ErrorCode.UNKNOWN, message="the blob is not as long as its descriptor says")
