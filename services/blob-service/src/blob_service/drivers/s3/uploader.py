"""Uploads the parts of one file, a few at once."""

from __future__ import annotations

import asyncio

from blob_service.drivers.s3.multipart import MultipartUpload, Part

# How many bytes are under way at once, one part at least.
_BYTES_UNDER_WAY = 20 << 20


class PartUploader:
    """The parts of a multipart upload: those that are stored, and those under way.

    A part whose upload failed is tried again by `settle`, as its bytes are kept until they are stored.
    """

    def __init__(self, upload: MultipartUpload, stored: dict[int, Part]) -> None:
        self.upload = upload
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
