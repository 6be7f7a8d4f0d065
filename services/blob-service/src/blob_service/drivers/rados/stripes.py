"""The data of files: how long it is, where its bytes are, and how it goes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blob_service.drivers.errors import DriverError
from blob_service.drivers.rados import operations, references
from blob_service.drivers.rados.names import (
    REFERENCES,
    TOTAL_SIZE,
    WRITER,
    pack_size,
    stripe_name,
    unpack_size,
)
from blob_service.drivers.rados.pool import Pool
from blob_service.drivers.rados.settings import MIN_CHUNK_SIZE, NAME

# What a writer has under way at once, at most. So a writer that died left no gap between its stripes that is
# as long as what is removed at once.
STREAM_DEPTH = 4
_REMOVED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class DataInfo:
    """What is known of a file's data: bytes in all and in each stripe but the last; seconds since 1970."""

    size: int
    stripe: int
    modified: int

    @property
    def stripes(self) -> int:
        """How many stripes there are; one that is empty counts."""
        return max(1, -(-self.size // self.stripe))


class Stripes:
    """The data in one pool. New data gets stripes of `chunksize`; what is there keeps its own."""

    def __init__(self, pool: Pool, chunksize: int) -> None:
        self._pool = pool
        self.chunksize = chunksize

    async def describe(self, data: str) -> DataInfo:
        """What is known of some data. Raises FileNotFoundError if it is not there."""
        first = stripe_name(data, 0)
        stat = await self._pool.stat(first)
        # No stripe but the last is that short, so it is the last one too.
        size = stat.size if stat.size < MIN_CHUNK_SIZE else await self.size(data)
        # What is longer than its first stripe has stripes of that length, whatever the configuration was.
        stripe = stat.size if 0 < stat.size < size else max(self.chunksize, stat.size)
        return DataInfo(size, stripe, stat.modified)

    async def size(self, data: str) -> int:
        """The length that stripe 0 says. Raises FileNotFoundError if it is not there."""
        try:
            return unpack_size(await self._pool.attribute(stripe_name(data, 0), TOTAL_SIZE))
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            raise DriverError(NAME, f"{data}: stripe 0 does not say how long the data is") from error
        except ValueError as error:
            raise DriverError(NAME, f"{data}: {error}") from error

    async def read_range(self, data: str, info: DataInfo, offset: int, length: int) -> bytes:
        """Bytes of one stripe. Raises DriverError when they are not there."""
        number, within = divmod(offset, info.stripe)
        async with self._pool.data:
            try:
                found = await self._pool.read(stripe_name(data, number), within, length)
            except FileNotFoundError as error:
                raise DriverError(NAME, f"{data}: stripe {number} was removed or is lost") from error
        if len(found) < length:
            lost = length - len(found)
            raise DriverError(NAME, f"{data}: stripe {number} is {lost} bytes shorter than it should be")
        return found

    async def store(self, data: str, content: bytes) -> None:
        """Store new data whole."""
        await asyncio.gather(
            *(
                self._store(data, number, content[start : start + self.chunksize], len(content))
                for number, start in enumerate(range(0, len(content) or 1, self.chunksize))
            )
        )

    async def _store(self, data: str, number: int, part: bytes, total: int) -> None:
        steps = [operations.create_new(), operations.write(part, 0)]
        if number == 0:
            steps.append(operations.set_attribute(TOTAL_SIZE, pack_size(total)))
        async with self._pool.data:
            await self._pool.write(stripe_name(data, number), *steps)

    async def discard(self, data: str, path: str) -> None:
        """Remove data that `path` referred to until now, unless another path refers to it. It may be gone."""
        first = stripe_name(data, 0)
        try:
            while True:
                entries = await self._pool.entry(first, REFERENCES, WRITER)
                listed = entries.get(REFERENCES, "")
                if others := references.parse(listed) - {path}:
                    rest = operations.set_entries({REFERENCES: references.pack(others)})
                    if await references.swap(self._pool, data, listed, rest):
                        return
                elif await self.remove_data(data, entries):
                    return
        except FileNotFoundError:
            return

    async def remove_data(self, data: str, entries: Mapping[str, str]) -> bool:
        """Remove data whose stripe 0 has these entries; False, and nothing done, if its references changed.

        Raises FileNotFoundError if it is gone.
        """
        info = await self._info_to_remove(data)
        # First stripe 0: a writer that still has the file sees by it that the data is going.
        listed = entries.get(REFERENCES, "")
        if not await references.swap(self._pool, data, listed, operations.remove()):
            return False
        known = 1 if info is None else info.stripes
        await self._remove(data, range(1, known))
        if info is None or WRITER in entries:
            await self.remove_from(data, known)
        return True

    async def _info_to_remove(self, data: str) -> DataInfo | None:
        try:
            return await self.describe(data)
        except DriverError:
            # It does not say how long it is: what there is will be found by looking.
            return None

    async def remove_from(self, data: str, first: int) -> None:
        """Remove what a writer that died left from a stripe on, however much that is."""
        while await self._remove(data, range(first, first + _REMOVED_AT_ONCE)):
            first += _REMOVED_AT_ONCE

    async def _remove(self, data: str, numbers: Iterable[int]) -> bool:
        """Remove stripes; whether any was there."""
        found = False
        pending = list(numbers)
        while pending:
            batch, pending = pending[:_REMOVED_AT_ONCE], pending[_REMOVED_AT_ONCE:]
            removed = await asyncio.gather(*(self.remove_stripe(stripe_name(data, each)) for each in batch))
            found = found or any(removed)
        return found

    async def remove_stripe(self, name: str) -> bool:
        """Remove one object of data; whether it was there."""
        try:
            await self._pool.write(name, operations.remove())
        except FileNotFoundError:
            return False
        return True
