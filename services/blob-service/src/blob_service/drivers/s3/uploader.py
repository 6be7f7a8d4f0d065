"""Uploads the parts of one file, a few at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from blob_service.drivers.errors import DriverError, PathNotFoundError
from blob_service.drivers.s3.failures import code_of
from blob_service.drivers.s3.multipart import MultipartUpload, Part
from blob_service.drivers.s3.parts import MIN_PART, copied_parts

# How many bytes are under way at once, one part at least.
_BYTES_UNDER_WAY = 20 << 20


class PartUploader:
    """The parts of a multipart upload: those that are stored, and those under way.

    A part whose upload failed is tried again by `settle`, as its bytes are kept until they are stored.
    """

    def __init__(
        self, upload: MultipartUpload, stored: dict[int, Part], strays: Mapping[int, Part] | None = None
    ) -> None:
        """`strays` are parts that the endpoint has and that are not this file's: a crash left them."""
        self.upload = upload
        self._strays = strays or {}
        self._stored = dict(stored)
        self._under_way: dict[int, tuple[bytearray, asyncio.Task[Part]]] = {}

    @property
    def count(self) -> int:
        """How many parts there are, those under way included."""
        return len(self._stored) + len(self._under_way)

    def stored_in_order(self) -> dict[int, Part]:
        """The stored parts before the first one that is not stored."""
        found: dict[int, Part] = {}
        for number in range(1, self.count + 1):
            self._collect(number)
            if number not in self._stored:
                break
            found[number] = self._stored[number]
        return found

    async def add(self, content: bytearray) -> None:
        """Begin to upload the next part; waits until few enough are under way.

        The content is the uploader's from now on, also when this raises what an earlier part failed with.
        """
        number = self.count + 1
        task = asyncio.create_task(self.upload.put(number, content))
        self._under_way[number] = (content, task)
        while sum(len(content) for content, _ in self._under_way.values()) > _BYTES_UNDER_WAY:
            if len(self._under_way) == 1:
                return
            oldest = min(self._under_way)
            await self._wait(oldest)
            self._stored[oldest] = self._under_way[oldest][1].result()
            del self._under_way[oldest]

    async def settle(self) -> dict[int, Part]:
        """Wait until all parts are stored, trying once more those that failed; returns them.

        Raises what a part failed with, or that the upload is gone (PathNotFoundError).
        """
        for number in sorted(self._under_way):
            await self._wait(number)
        for number in sorted(self._under_way):
            content, task = self._under_way[number]
            if task.cancelled() or task.exception() is not None:
                task = asyncio.create_task(self.upload.put(number, content))
                self._under_way[number] = (content, task)
                await self._wait(number)
            self._stored[number] = task.result()
            del self._under_way[number]
        return dict(self._stored)

    async def publish(self, rest: bytes) -> None:
        """Put the object together of the parts and what comes after them.

        Raises PathNotFoundError if there is no such upload any more, or if it was put together already.
        """
        parts = await self.settle()
        last = len(parts) + 1
        if rest:
            parts[last] = await self.upload.put(last, rest)
        try:
            await self.upload.complete(parts)
        except DriverError as error:
            strays = {number: part for number, part in self._strays.items() if number not in parts}
            if not strays or code_of(error.__cause__) != "InvalidPart":
                raise
            size = sum(part.size for part in parts.values())
            if rest:
                # Only the last part may be small.
                parts[last] = await self.upload.put(last, rest + bytes(max(MIN_PART - len(rest), 0)))
            await self._publish_beginning({**parts, **strays}, size)

    async def _publish_beginning(self, parts: Mapping[int, Part], size: int) -> None:
        """Publish the first `size` bytes of these parts, through a second upload that copies them.

        A RADOS Gateway puts together all parts that it has or none. So for a moment the object has the strays
        behind it. Whoever continues an upload that a crash cut short sends the same bytes again and writes
        over the strays; this is for one that ends before them.
        """
        bucket, key = self.upload.bucket, self.upload.key
        await self.upload.complete(parts)
        source = await bucket.head(key)
        if source is None:
            raise PathNotFoundError(self.upload.path)
        second = await MultipartUpload.begin(bucket, key)
        try:
            ranges = copied_parts(size, bucket.settings.multipartcopychunksize)
            copied = {
                number: await second.copy(number, source, *span)
                for number, span in enumerate(ranges, start=1)
            }
            await second.complete(copied)
        except BaseException:
            await second.abort()
            raise

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = [task for _, task in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._under_way.clear()

    async def _wait(self, number: int) -> None:
        await asyncio.wait([self._under_way[number][1]])

    def _collect(self, number: int) -> None:
        if number not in self._under_way:
            return
        _, task = self._under_way[number]
        if task.done() and not task.cancelled() and task.exception() is None:
            self._stored[number] = task.result()
            del self._under_way[number]
