"""A file's bytes, read in the pool, one chunk ahead of whoever takes them."""

from __future__ import annotations

import asyncio
import os
import warnings

from blob_service.drivers.errors import DriverError
from blob_service.drivers.interface import CHUNK_SIZE, FileReader
from blob_service.drivers.threads import ThreadPool, settle


class FilesystemReader(FileReader):
    """Reads `end - position` bytes of an open file and closes it.

    While the caller is busy with a chunk, the next one is read; no more than that, so a slow caller holds
    two chunks.
    """

    def __init__(self, pool: ThreadPool, path: str, descriptor: int, position: int, end: int) -> None:
        self._pool = pool
        self._path = path
        self._descriptor: int | None = descriptor
        self._position = position
        self._end = end
        self._ahead: asyncio.Future[bytes] | None = None

    @property
    def descriptor(self) -> int | None:
        """See `FileReader.descriptor`."""
        return self._descriptor

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._next_chunk()
        except BaseException:
            await self.aclose()
            raise
        if chunk is None:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Wait for the chunk that is being read, and close the file."""
        if self._descriptor is None:
            return
        try:
            if self._ahead is not None:
                await settle(self._ahead)
        finally:
            self._ahead = None
            await self._pool.complete(self._release)

    async def _next_chunk(self) -> bytes | None:
        if self._ahead is None:
            self._ahead = self._start()
        if self._ahead is None:
            return None
        chunk = await asyncio.shield(self._ahead)
        self._ahead = None
        self._ahead = self._start()
        return chunk

    def _start(self) -> asyncio.Future[bytes] | None:
        """Begin to read the next chunk; None after the last one."""
        descriptor, position = self._descriptor, self._position
        size = min(CHUNK_SIZE, self._end - position)
        if descriptor is None or size <= 0:
            return None
        self._position += size
        return self._pool.start(lambda: self._read(descriptor, size, position))

    def _read(self, descriptor: int, size: int, position: int) -> bytes:
        try:
            chunk = os.pread(descriptor, size, position)
            while len(chunk) < size:
                more = os.pread(descriptor, size - len(chunk), position + len(chunk))
                if not more:
                    break
                chunk += more
        except OSError as error:
            raise DriverError(self._pool.driver, error) from error
        if len(chunk) < size:
            raise DriverError(self._pool.driver, f"{self._path} was cut short while it was read")
        return chunk

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        if self._descriptor is not None:
            warnings.warn(
                f"the reader of {self._path} was not closed", ResourceWarning, source=self, stacklevel=1
            )
            self._release()
