"""Reads an object in ranges, a few of them ahead of whoever takes the bytes."""

from __future__ import annotations

import asyncio
from collections import deque

from blob_service.drivers.errors import DriverError, PathNotFoundError
from blob_service.drivers.interface import CHUNK_SIZE, FileReader
from blob_service.drivers.s3.bucket import Bucket, ConditionError, Piece
from blob_service.drivers.s3.requests import NAME

# Each range is held whole until it has been handed out, so a reader holds RANGES + 1 of them at most.
RANGE_BYTES = 4 << 20
RANGES = 3


class S3Reader(FileReader):
    """The bytes from `position` to `end` (excluded) of the object with one entity tag.

    A range is asked for as earlier ones are taken, one at first and then one more each time, up to RANGES: a
    slow reader holds no connection, and one that goes away early has asked for little in vain.
    """

    def __init__(self, bucket: Bucket, path: str, etag: str, content: bytes, position: int, end: int) -> None:
        """`content` are the bytes that begin at `position`."""
        self._bucket = bucket
        self._path = path
        self._key = bucket.keys.of(path)
        self._etag = etag
        self._chunks = _chunks_of(content)
        self._next = position + len(content)
        self._end = end
        self._ahead: deque[asyncio.Task[bytes]] = deque()
        self._width = 1

    async def __anext__(self) -> bytes:
        if not self._chunks:
            self._ask()
            if not self._ahead:
                raise StopAsyncIteration
            await self._take()
        elif len(self._ahead) < self._width:
            self._ask()
        return self._chunks.popleft()

    async def _take(self) -> None:
        try:
            content = await asyncio.shield(self._ahead[0])
        except BaseException:
            await self.aclose()
            raise
        self._ahead.popleft()
        self._chunks = _chunks_of(content)
        self._width = min(self._width + 1, RANGES)
        self._ask()

    def _ask(self) -> None:
        while self._next < self._end and len(self._ahead) < self._width:
            last = min(self._next + RANGE_BYTES, self._end) - 1
            self._ahead.append(asyncio.create_task(self._range(self._next, last)))
            self._next = last + 1

    async def _range(self, first: int, last: int) -> bytes:
        try:
            piece = await self._bucket.read(self._key, first, last, etag=self._etag)
        except (ConditionError, PathNotFoundError) as error:
            raise DriverError(NAME, f"{self._path} was replaced or deleted while it was read") from error
        if piece is None or len(piece.content) != last - first + 1:
            raise DriverError(NAME, f"{self._path} ends before the size that it had")
        return piece.content

    async def aclose(self) -> None:
        """See `FileReader.aclose`."""
        tasks, self._ahead = list(self._ahead), deque()
        self._chunks.clear()
        self._next = self._end
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def open_reader(bucket: Bucket, path: str, offset: int, length: int | None) -> S3Reader:
    """A reader, and the first range already read. Raises PathNotFoundError, InvalidPathError."""
    key = bucket.keys.of(path)
    wanted = RANGE_BYTES if length is None else min(length, RANGE_BYTES)
    first: Piece | None = None
    if wanted:
        first = await bucket.read(key, offset, offset + wanted - 1)
    elif await bucket.head(key) is None:
        raise PathNotFoundError(path)
    if first is None:
        return S3Reader(bucket, path, "", b"", 0, 0)
    end = first.size if length is None else min(first.size, offset + length)
    return S3Reader(bucket, path, first.etag, first.content, offset, end)


def _chunks_of(content: bytes) -> deque[bytes]:
    if len(content) <= CHUNK_SIZE:
        return deque([content] if content else [])
    return deque(content[start : start + CHUNK_SIZE] for start in range(0, len(content), CHUNK_SIZE))
