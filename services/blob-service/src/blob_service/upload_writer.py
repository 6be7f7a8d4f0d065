"""One call's hold on an upload: it appends, hashes as it appends, and publishes or discards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing

import structlog

from blob_service.cancellation import run_to_completion
from blob_service.drivers.interface import (
    DriverError,
    FileWriter,
    PathNotFoundError,
    StorageDriver,
    StorageError,
    WriterBusyError,
)
from blob_service.hashing import RunningHash
from blob_service.layout import UploadKey, upload_data, upload_folder
from blob_service.metrics import UPLOAD_BYTES, UPLOAD_REHASHES
from blob_service.streams import Block, ReadAhead
from moorage.errors import ErrorCode, RegistryError

# A block of no more than this that is known to be the last is written together with what follows.
_HELD_BYTES = 64 * 1024

log = structlog.get_logger(__name__)


class UploadWriter:
    """Holds an upload, once it is opened, until it is closed; against other processes too.

    `open`, `leave`, `publish` and `discard` await calls of the driver only (`StorageDriver.together`).
    """

    def __init__(self, driver: StorageDriver, key: UploadKey, executor: Executor) -> None:
        self._driver = driver
        self._path = upload_data(key)
        # None where the backend appends no more to a complete file: a crash came between its completion and
        # its move. `_size` is then the upload's size.
        self._file: FileWriter | None = None
        self._size = 0
        # The content is whole and visible to the backend's readers: it can be moved and not appended to.
        self._complete = False
        # What was received and hashed last, and is not written yet.
        self._held: Block = b""
        self.key = key
        self.running = RunningHash(executor)
        self.started_at = ""
        # Published or discarded, and closed: there is no upload any more.
        self.ended = False
        # What was received may not all be there, and storage would perhaps not say so.
        self.in_doubt = False

    @property
    def size(self) -> int:
        """Bytes that were received; once the writer has been left, other processes find them."""
        stored = self._file.size if self._file is not None else self._size
        return stored + len(self._held)

    async def open(self) -> None:
        """Take hold of the upload. Raises WriterBusyError, and PathNotFoundError where none can append."""
        self._file = await self._driver.writer(self._path, append=True)

    def hold_complete(self, size: int) -> None:
        """Take an upload whose file is complete, and can only be moved or removed."""
        self._size = size
        self._complete = True

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
        async with aclosing(ReadAhead(chunks)) as blocks:
            async for block in blocks:
                part = block if missing is None else block[:missing]
                if self._over(limit, len(part)):
                    raise _too_large(limit)
                if len(part) <= _HELD_BYTES and self._is_in_step() and await blocks.has_ended():
                    await self.running.update(part)
                    self._held = part
                else:
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
        await run_to_completion(self._write_held())
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
        """Make the content durable and move it to `destination`, in place of what is there; close.

        Of the upload nothing is left.
        """
        await self._write_held()
        await self._finish()
        # The file is held meanwhile: nobody can append to what is published.
        await self._driver.move(self._path, destination)
        await self._end()

    async def discard(self) -> None:
        """Remove the content, and all else of the upload; close."""
        self._held = b""
        if self._file is not None and not self._complete:
            await self._file.cancel()
        else:
            await self._driver.delete(self._path)
        await self._end()

    async def leave(self) -> None:
        """Leave what was received to whoever goes on, and close."""
        try:
            await self._write_held()
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the upload. After a StorageError it is `in_doubt`.

        Not so after PathNotFoundError and WriterBusyError: somebody else removed it or went on with it.
        """
        if self._file is None:
            return
        try:
            await self._file.close()
        except (PathNotFoundError, WriterBusyError):
            raise
        except StorageError:
            self.in_doubt = True
            raise

    async def _store(self, part: Block) -> None:
        if self._file is None:
            if part:
                raise RegistryError(ErrorCode.BLOB_UPLOAD_INVALID, {"reason": "the upload is complete"})
            return
        if not self._is_in_step():
            # Another instance stored what this one never saw; the commit will read it.
            await self._file.write(part)
        else:
            hashing = asyncio.ensure_future(self.running.update(part))
            try:
                await self._file.write(part)
            finally:
                await hashing
        UPLOAD_BYTES.inc(len(part))

    def _is_in_step(self) -> bool:
        """Whether all that is in the file was hashed."""
        return self._file is not None and self.running.offset == self._file.size

    async def _write_held(self) -> None:
        held, self._held = self._held, b""
        if held and self._file is not None:
            await self._file.write(held)
            UPLOAD_BYTES.inc(len(held))

    async def _finish(self) -> None:
        if self._file is not None and not self._complete:
            await self._file.commit()
            self._complete = True

    async def _end(self) -> None:
        await remove_upload(self._driver, self.key)
        await self.close()
        self.ended = True

    def _over(self, limit: int, more: int) -> bool:
        return bool(limit) and self.size + more > limit

    def _wrong_size(self, length: int | None) -> RegistryError:
        return RegistryError(ErrorCode.SIZE_INVALID, {"length": length, "offset": self.size})


async def remove_upload(driver: StorageDriver, key: UploadKey) -> None:
    """Remove an upload's folder. Its data are gone or void, so that a failure is only litter."""
    try:
        await driver.delete(upload_folder(key))
    except PathNotFoundError:
        return
    except StorageError as error:
        log.warning("an upload's folder could not be removed", upload=key.id, error=str(error))


def _too_large(limit: int) -> RegistryError:
    return RegistryError(ErrorCode.SIZE_INVALID, {"limit": limit}, http_status=413)
