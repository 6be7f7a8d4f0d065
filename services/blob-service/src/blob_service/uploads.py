"""The state machine of an upload: started, appended to, then committed or cancelled.

An upload is known as long as both its `startedat` and its `data` are there; all its state is in storage, so
any instance continues it. Calls on one upload run one after the other: in this process by a lock, between
processes by the driver's hold on the file. Each names the offset that it believes the upload to be at.

What an upload has survives this process. A loss of power may take an upload, or the end of it, which its
sender has still: neither its folder nor its file is synced before the commit (`StorageDriver.transient`).

A commit's steps, each durable before the next: the bytes, verified; the move to their address; the removal of
the upload's folder. A crash between two of them leaves either an upload that can be committed again or a blob
that no repository links.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from blob_service.blobs import Blob, Blobs
from blob_service.cancellation import run_to_completion
from blob_service.drivers.interface import (
    FileWriter,
    InvalidPathError,
    PathNotFoundError,
    StorageDriver,
    StorageError,
    WriterBusyError,
)
from blob_service.failures import digest_mismatch
from blob_service.hashing import RunningHash, RunningHashes
from blob_service.layout import UploadKey, upload_data, upload_folder, upload_started_at
from blob_service.metrics import UPLOADS_OPEN
from blob_service.streams import Block
from blob_service.upload_writer import UploadWriter, remove_upload
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.locks import KeyedLocks, LockTimeoutError

LOCK_SECONDS = 30.0

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload: how many bytes are stored, and when it was started (RFC 3339, UTC)."""

    key: UploadKey
    offset: int
    started_at: str


class Uploads:
    """The uploads of one storage driver.

    Every call raises RegistryError BLOB_UPLOAD_UNKNOWN for an upload that is not (or no longer) known.
    Those that name an offset raise RANGE_INVALID, with the detail {"offset": <bytes stored>}, when the upload
    is elsewhere, when another process has it, or when another call has had it for `lock_seconds`.
    """

    def __init__(
        self,
        driver: StorageDriver,
        blobs: Blobs,
        executor: Executor,
        *,
        size_limit: int = 0,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._driver = driver
        # What is not committed may go with a loss of power: its sender has it still.
        self._transient = driver.transient
        self._blobs = blobs
        self._executor = executor
        self._size_limit = size_limit
        self._lock_seconds = lock_seconds
        self._locks: KeyedLocks[UploadKey] = KeyedLocks()
        self._hashes = RunningHashes()

    async def start(self, key: UploadKey, algorithm: str) -> Upload:
        """Start the upload of a new key. `algorithm` is what its digest will be of, as far as is known."""
        started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._transient.together(lambda: self._create(key, started_at))
        self._hashes.put(key, RunningHash(self._executor, [algorithm]))
        return Upload(key, 0, started_at)

    async def status(self, key: UploadKey) -> Upload:
        """Where an upload stands. It waits for no other call, so one under way may be counted in part."""
        started_at = await self._started_at(key)
        return Upload(key, await self._stored(key), started_at)

    async def append(
        self, key: UploadKey, offset: int, chunks: AsyncIterator[Block], *, length: int | None
    ) -> Upload:
        """Append a stream, which another process finds when this returns, or as far as it came.

        Raises RegistryError SIZE_INVALID when the stream is not `length` bytes long or makes the upload
        larger than is allowed; the upload stays.
        """
        async with self._hold(key, offset) as upload:
            await upload.receive(chunks, length=length, limit=self._size_limit)
        return Upload(key, upload.size, upload.started_at)

    async def commit(
        self,
        key: UploadKey,
        offset: int,
        provisional: Digest,
        chunks: AsyncIterator[Block],
        *,
        length: int | None,
    ) -> Blob:
        """Append a stream (if any), verify the content and move it to its address, that of its sha256.

        `chunks` must raise, not end, when the stream broke. Raises RegistryError DIGEST_INVALID when the
        content does not have the provisional digest: then the upload is gone and nothing is stored; and as
        `append` does, the upload staying.
        """
        async with self._hold(key, offset) as upload:
            await upload.receive(chunks, length=length, limit=self._size_limit)
            return await self._publish(upload, provisional)

    async def commit_stored(self, key: UploadKey, offset: int, provisional: Digest) -> Blob:
        """Commit what is stored. Raises RegistryError DIGEST_INVALID as `commit` does."""
        async with self._hold(key, offset) as upload:
            return await self._publish(upload, provisional)

    async def cancel(self, key: UploadKey, offset: int) -> None:
        """Drop an upload and its data."""
        async with self._hold(key, offset) as upload:
            await run_to_completion(self._transient.together(upload.discard))

    async def purge(self, key: UploadKey, abandoned: Callable[[int | None], Awaitable[bool]]) -> bool:
        """Remove all of an upload's folder if it is `abandoned`; false if a call has it, here or elsewhere.

        `abandoned` is asked once no other call can have it any more, with what the file's writer says about
        its time (`FileWriter.modified_ns`). What is no upload, but a folder among them, is removed as well.
        """
        try:
            async with self._locks.hold(key, timeout=0):
                try:
                    file = await self._driver.writer(upload_data(key), append=True)
                except PathNotFoundError:
                    # It has no data, or they are complete: nobody can append.
                    if await abandoned(None):
                        await run_to_completion(self._purge(key, None))
                    return True
                async with file:
                    if await abandoned(file.modified_ns):
                        await run_to_completion(self._purge(key, file))
                    return True
        except (LockTimeoutError, WriterBusyError):
            return False

    async def _purge(self, key: UploadKey, file: FileWriter | None) -> None:
        self._hashes.take(key)
        if file is not None:
            await file.cancel()
        await self._driver.delete(upload_folder(key))

    async def _publish(self, upload: UploadWriter, provisional: Digest) -> Blob:
        await upload.catch_up(provisional.algorithm, self._executor)
        if upload.running.digest(provisional.algorithm) != provisional:
            await run_to_completion(self._transient.together(upload.discard))
            raise digest_mismatch(provisional)
        return await run_to_completion(self._blobs.adopt(upload, upload.running.digest()))

    async def _create(self, key: UploadKey, started_at: str) -> None:
        await self._transient.put_content(upload_started_at(key), started_at.encode())
        try:
            async with await self._transient.writer(upload_data(key)):
                pass
        except StorageError:
            await remove_upload(self._transient, key)
            raise

    @asynccontextmanager
    async def _hold(self, key: UploadKey, offset: int) -> AsyncIterator[UploadWriter]:
        """Hold an upload that is at `offset`, and let go of it at the end, whatever happens."""
        try:
            async with self._locks.hold(key, timeout=self._lock_seconds):
                upload = await self._open(key, offset)
                with UPLOADS_OPEN.track_inprogress():
                    try:
                        yield upload
                    finally:
                        await run_to_completion(self._let_go(upload))
        except LockTimeoutError as error:
            raise _elsewhere(await self._stored(key)) from error
        except PathNotFoundError as error:
            # Cancelled, finished or purged by somebody else meanwhile.
            raise upload_unknown(key.id) from error
        except WriterBusyError as error:
            # Where a backend cannot keep a second writer out, the first one to store something wins.
            raise _elsewhere(await self._stored(key)) from error

    async def _open(self, key: UploadKey, offset: int) -> UploadWriter:
        upload = UploadWriter(self._transient, key, self._executor)
        try:
            await self._transient.together(lambda: self._look_up(upload, offset))
        except BaseException:
            await run_to_completion(upload.close())
            raise
        running = self._hashes.take(key)
        if running is not None and running.offset <= upload.size:
            upload.running = running
        return upload

    async def _look_up(self, upload: UploadWriter, offset: int) -> None:
        upload.started_at = await self._started_at(upload.key)
        try:
            await upload.open()
        except WriterBusyError as error:
            raise _elsewhere(await self._stored(upload.key)) from error
        except PathNotFoundError:
            upload.hold_complete(await self._stored(upload.key))
        if upload.size != offset:
            raise _elsewhere(upload.size)

    async def _let_go(self, upload: UploadWriter) -> None:
        if upload.ended:
            return
        try:
            await self._transient.together(upload.leave)
        except StorageError:
            if upload.in_doubt:
                # Storage may hold anything now, and would perhaps say next time that all is well.
                log.exception("an upload is dropped: its bytes could not be kept", upload=upload.key.id)
                await remove_upload(self._transient, upload.key)
            raise
        if upload.running.offset <= upload.size:
            self._hashes.put(upload.key, upload.running)

    async def _started_at(self, key: UploadKey) -> str:
        try:
            content = await self._driver.get_content(upload_started_at(key))
        except (PathNotFoundError, InvalidPathError) as error:
            raise upload_unknown(key.id) from error
        text = content.decode("ascii", "replace")
        if _RFC3339.fullmatch(text) is None:
            log.warning("an upload's startedat is not a time", upload=key.id, content=text[:64])
            raise upload_unknown(key.id)
        return text

    async def _stored(self, key: UploadKey) -> int:
        try:
            return (await self._driver.stat(upload_data(key))).size
        except PathNotFoundError:
            pass
        # A backend may show a file only when it is complete; its writer knows.
        try:
            file = await self._driver.writer(upload_data(key), append=True)
        except PathNotFoundError as error:
            raise upload_unknown(key.id) from error
        async with file:
            return file.size


def upload_unknown(upload_id: str) -> RegistryError:
    """There is no such upload."""
    return RegistryError(ErrorCode.BLOB_UPLOAD_UNKNOWN, {"upload": upload_id[:128]})


def _elsewhere(offset: int) -> RegistryError:
    return RegistryError(ErrorCode.RANGE_INVALID, {"offset": offset})
