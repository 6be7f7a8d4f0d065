"""A file's bytes, several reads ahead of whoever takes them."""

from __future__ import annotations

import asyncio
from collections import deque

from blob_service.drivers.interface import CHUNK_SIZE, FileReader
from blob_service.drivers.rados.failures import storage_errors
from blob_service.drivers.rados.stripes import DataInfo, Stripes

# Chunks that are read or waiting to be taken: so much memory does a slow caller hold.
_READ_AHEAD = 6


class RadosReader(FileReader):
    """Reads from `position` to `end`. Reading begins with the first chunk that is asked for."""

    def __init__(
        self, stripes: Stripes, path: str, data: str, info: DataInfo, position: int, end: int
    ) -> None:
        self._stripes = stripes
        self._path = path
        self._data = data
        self._info = info
        self._position = position
        self._end = end
        self._ahead: deque[asyncio.Task[bytes]] = deque()

    async def __anext__(self) -> bytes:
        """See `FileReader`."""
        while len(self._ahead) < _READ_AHEAD and self._position < self._end:
            self._ahead.append(self._read_next())
        if not self._ahead:
            raise StopAsyncIteration
        try:
            with storage_errors(self._path):
                chunk = await self._ahead[0]
        except BaseException:
            await self.aclose()
            raise
        self._ahead.popleft()
        return chunk

    async def aclose(self) -> None:
        """See `FileReader.aclose`. What is being read is thrown away when it comes."""
        self._position = self._end
        ahead = list(self._ahead)
        self._ahead.clear()
        for reading in ahead:
            reading.cancel()
        # Looked at, or asyncio reports what nobody saw.
        await asyncio.gather(*ahead, return_exceptions=True)

    def _read_next(self) -> asyncio.Task[bytes]:
        # Up to the next multiple of a chunk within the stripe, so that all reads but the ends' are whole.
        within = self._position % self._info.stripe
        length = min(CHUNK_SIZE - within % CHUNK_SIZE, self._info.stripe - within, self._end - self._position)
        start = self._position
        self._position += length
        return asyncio.create_task(self._stripes.read_range(self._data, self._info, start, length))
