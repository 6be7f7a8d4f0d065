"""One call's hold on an upload: it appends, hashes as it appends, and publishes or discards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing

from blob_service.cancellation import run_to_completion
from blob_service.drivers.interface import DriverError, FileWriter, PathNotFoundError, StorageDriver
from blob_service.hashing import RunningHash
from blob_service.layout import UploadKey, upload_data
from blob_service.metrics import UPLOAD_BYTES, UPLOAD_REHASHES
from blob_service.streams import Block, read_ahead
from moorage.errors import ErrorCode, RegistryError


class UploadWriter:
    """Holds an upload, against other processes too, until it is closed.

    `file` is None, and `size` then the upload's size, where the backend appends no more to a complete file:
    a crash came between its completion and its move.
    """

    def __init__(
        self,
        driver: StorageDriver,
        key: UploadKey,
        file: FileWriter | None,
        size: int,
        running: RunningHash,
    ) -> None:
        self._driver = driver
        self._path = upload_data(key)
        self._file = file
        self._size = size
        # The content is whole and visible to the backend's readers: it can be moved and not appended to.
        self._complete = file is None
        self.key = key
        self.running = running
        # Published or discarded: there is no upload any more.
        self.ended = False

    @property
    def size(self) -> int:
        """Bytes that are there; once the writer has been closed, for other processes too."""
        return self._file.size if self._file is not None else self._size

    async def receive(self, chunks: AsyncIterator[Block], *, length: int | None, limit: int) -> None:
        """Append a stream. Whatever ends it, all that came before is kept, and `size` tells how much.

        `length` is what the sender said it would send; more than that is never stored. `limit` is how large
        an upload may become, 0 for any size. Raises RegistryError SIZE_INVALID when either does not hold,
        and what the stream raises.
        """
        if length is not None and length < 0:
            raise self._wrong_size(length)
        if length is not None and self._over(limit, length):
            raise _too_large(limit)
        missing = length
        async with aclosing(read_ahead(chunks)) as blocks:
            async for block in blocks:
                part = block if missing is None else block[:missing]
                if self._over(limit, len(part)):
                    raise _too_large(limit)
                # Hash and file stay in step even when the caller is cancelled here.
                await run_to_completion(self._store(part))
                if missing is not None:
                    missing -= len(part)
                if len(part) < len(block):
                    raise self._wrong_size(length)
        if missing:
            raise self._wrong_size(length)

    async def catch_up(self, algorithm: str, executor: Executor) -> None:
        """Make the running hash cover all of the upload, `algorithm` included, reading what it lacks.

        What was hashed when the caller is cancelled stays hashed.
        """
        if algorithm not in self.running.algorithms:
            self.running = RunningHash(executor, [algorithm])
        if self.running.offset == self.size:
            return
        UPLOAD_REHASHES.inc()
        if self._file is not None and not self._complete:
            # A backend need not show more than what is durable.
            await self._file.flush()
        try:
            reader = await self._driver.reader(self._path, self.running.offset)
        except PathNotFoundError:
            # This backend shows a file only when it is complete.
            await self._finish()
            reader = await self._driver.reader(self._path, self.running.offset)
        async with reader:
            async for chunk in reader:
                await run_to_completion(self.running.update(chunk))
        if self.running.offset != self.size:
            raise DriverError(self._driver.name, f"{self._path} is not as long as its writer said")

    async def publish(self, destination: str) -> None:
        """Make the content durable and move it to `destination`, in place of what is there."""
        await self._finish()
        # The file is held meanwhile: nobody can append to what is published.
        await self._driver.move(self._path, destination)
        self.ended = True

    async def discard(self) -> None:
        """Remove the content."""
        if self._file is not None and not self._complete:
            await self._file.cancel()
        else:
            await self._driver.delete(self._path)
        self.ended = True

    async def close(self) -> None:
        """Leave what was received to whoever goes on. If it raises, what was received is in doubt."""
        if self._file is not None:
            await self._file.close()

    async def _store(self, part: Block) -> None:
        if self._file is None:
            if part:
                raise RegistryError(ErrorCode.BLOB_UPLOAD_INVALID, {"reason": "the upload is complete"})
            return
        if self.running.offset != self._file.size:
            # Another instance stored what this one never saw; the commit will read it.
            await self._file.write(part)
        else:
            hashing = asyncio.ensure_future(self.running.update(part))
            try:
                await self._file.write(part)
            finally:
                await hashing
        UPLOAD_BYTES.inc(len(part))

    async def _finish(self) -> None:
        if self._file is not None and not self._complete:
            await self._file.commit()
            self._complete = True

    def _over(self, limit: int, more: int) -> bool:
        return bool(limit) and self.size + more > limit

    def _wrong_size(self, length: int | None) -> RegistryError:
        return RegistryError(ErrorCode.SIZE_INVALID, {"length": length, "offset": self.size})


def _too_large(limit: int) -> RegistryError:
    return RegistryError(ErrorCode.SIZE_INVALID, {"limit": limit}, http_status=413)
