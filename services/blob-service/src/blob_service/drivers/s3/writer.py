"""Writes a file: whole parts go into a multipart upload, the rest into the record, until the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from blob_service.drivers.errors import (
    DriverError,
    PathNotFoundError,
    StorageError,
    WriterBusyError,
    WriterClosedError,
)
from blob_service.drivers.interface import FileWriter
from blob_service.drivers.s3.bucket import Bucket, ConditionError
from blob_service.drivers.s3.multipart import MultipartUpload, Part
from blob_service.drivers.s3.parts import part_sizes
from blob_service.drivers.s3.record import Record, StoredRecord, load_record, parts_digest, store_record
from blob_service.drivers.s3.requests import NAME
from blob_service.drivers.s3.uploader import PartUploader

# A long stream is put on record after so many parts: then a crash costs the client no more than these.
_PARTS_BETWEEN_RECORDS = 16

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a writer begins with: the record, and the parts that it speaks of."""

    stored: StoredRecord
    parts: dict[int, Part] = field(default_factory=dict)
    # Parts that are not on record: a crash left them.
    strays: dict[int, Part] = field(default_factory=dict)
    # An upload that is on record without a part: another writer's, perhaps with parts that are not. It is
    # dropped once this writer is sure of the file.
    superseded: MultipartUpload | None = None


async def open_new(bucket: Bucket, path: str) -> Opened:
    """Begin a file. Raises WriterBusyError if another process does the same at this moment.

    What an earlier writer left unfinished is dropped; what is committed stays until the commit.
    """
    there, left = await asyncio.gather(bucket.head(bucket.keys.of(path)), load_record(bucket, path))
    record = _fresh(bucket, "" if there is None else there.etag)
    try:
        etag = await store_record(bucket, path, record, b"", replacing="" if left is None else left.etag)
    except ConditionError as error:
        raise WriterBusyError(path) from error
    if left is not None and left.record.upload_id:
        await MultipartUpload(bucket, bucket.keys.of(path), left.record.upload_id).abort()
    return Opened(StoredRecord(record, b"", etag))


async def open_to_append(bucket: Bucket, path: str) -> Opened:
    """Go on with a file that was not committed, or with an empty one. Raises PathNotFoundError."""
    key = bucket.keys.of(path)
    there, left = await asyncio.gather(bucket.head(key), load_record(bucket, path))
    etag = "" if there is None else there.etag
    if left is None or left.record.replaces != etag:
        # Nothing, or the record of what was committed or replaced since.
        if there is None or there.size:
            raise PathNotFoundError(path)
        return await open_new(bucket, path)
    if not left.record.upload_id:
        return Opened(left)
    upload = MultipartUpload(bucket, key, left.record.upload_id)
    if not left.record.parts:
        return Opened(replace(left, record=replace(left.record, upload_id="")), superseded=upload)
    found = await upload.parts()
    parts = {number: part for number, part in found.items() if number <= left.record.parts}
    if parts_digest(parts) != left.record.parts_digest:
        raise DriverError(NAME, f"the parts of {path} are not those that are on record")
    return Opened(left, parts, {number: part for number, part in found.items() if number not in parts})


def _fresh(bucket: Bucket, replaces: str) -> Record:
    return Record(
        replaces=replaces,
        upload_id="",
        first_part_size=bucket.settings.chunksize,
        parts=0,
        parts_digest=parts_digest({}),
        size=0,
    )


class S3Writer(FileWriter):
    """The one writer of a path in this process.

    Another process may open one, too: then the first of the two that puts something on record goes on, and
    the other one's next `flush`, `commit` or `close` raises WriterBusyError.
    """

    def __init__(self, bucket: Bucket, path: str, opened: Opened, release: Callable[[], None]) -> None:
        """`release` is called once, when the path is free again."""
        self._bucket = bucket
        self._path = path
        self._release_path = release
        self._record = opened.stored.record
        self._record_etag = opened.stored.etag
        self._modified_ns = opened.stored.modified_ns
        self._superseded = opened.superseded
        self._sizes = part_sizes(self._record.first_part_size)
        self._buffer = bytearray(opened.stored.tail)
        self._size = self._record.size
        self._uploader: PartUploader | None = None
        if self._record.upload_id:
            upload = MultipartUpload(bucket, bucket.keys.of(path), self._record.upload_id)
            self._uploader = PartUploader(upload, opened.parts, opened.strays)
        self._turn = asyncio.Lock()
        self._written = False
        self._committed = False
        self._closed = False
        # Why the file is not this writer's any more.
        self._lost: StorageError | None = None
        self._failed = False

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    @property
    def modified_ns(self) -> int | None:
        """See `FileWriter.modified_ns`."""
        return self._modified_ns

    def lose(self) -> None:
        """The file was deleted or replaced through the driver."""
        if not self._committed:
            self._lost = PathNotFoundError(self._path)

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """See `FileWriter.write`. Waits while more bytes are under way than memory is meant for."""
        view = memoryview(data).cast("B")
        async with self._turn:
            self._check_writable()
            if self._failed:
                raise DriverError(NAME, f"what was written to {self._path} could not be stored")
            if self._size + len(view) > self._sizes.capacity:
                raise DriverError(NAME, f"{self._path} would be larger than {self._sizes.capacity} bytes")
            taken = 0
            while taken < len(view):
                part = self._sizes.size(self._parts + 1)
                piece = view[taken : taken + part - len(self._buffer)]
                self._buffer += piece
                self._size += len(piece)
                self._written = True
                taken += len(piece)
                if len(self._buffer) == part:
                    await self._start_part()
        return len(view)

    async def flush(self) -> None:
        """See `FileWriter.flush`."""
        async with self._turn:
            self._check_writable()
            await self._put_on_record()

    async def commit(self) -> None:
        """See `FileWriter.commit`."""
        async with self._turn:
            self._check_writable()
            if self._failed:
                raise DriverError(NAME, f"what was written to {self._path} could not be stored")
            await self._check_record()
            try:
                if self._uploader is None:
                    await self._publish_small()
                else:
                    await self._publish_parts(self._uploader)
            except ConditionError as error:
                raise PathNotFoundError(self._path) from error
            self._committed = True
            await self._drop_superseded()
            await self._forget_record()

    async def cancel(self) -> None:
        """See `FileWriter.cancel`."""
        async with self._turn:
            self._check_writable(cancelling=True)
            try:
                if self._uploader is not None:
                    await self._uploader.stop()
                    if not isinstance(self._lost, WriterBusyError):
                        await self._uploader.upload.abort()
                if self._lost is None:
                    await self._drop_superseded()
                    keys = self._bucket.keys
                    await self._bucket.delete([keys.of(self._path), keys.record(self._path)])
            finally:
                self._release()

    async def close(self) -> None:
        """See `FileWriter.close`."""
        async with self._turn:
            if self._closed:
                return
            try:
                if not self._committed:
                    await self._put_on_record()
            finally:
                try:
                    if self._uploader is not None:
                        await self._uploader.stop()
                finally:
                    self._release()

    @property
    def _parts(self) -> int:
        return 0 if self._uploader is None else self._uploader.count

    async def _start_part(self) -> None:
        uploader = self._uploader
        if uploader is None:
            uploader = await self._begin_upload()
        elif uploader.count - self._record.parts >= _PARTS_BETWEEN_RECORDS:
            await self._record_progress(uploader)
        content, self._buffer = self._buffer, bytearray()
        await self._unless_lost(uploader.add(content))

    async def _begin_upload(self) -> PartUploader:
        """Begin the multipart upload, on record before it has a part: so whoever cleans up finds it."""
        upload = await MultipartUpload.begin(self._bucket, self._bucket.keys.of(self._path))
        try:
            # What the record says is there stays there: its tail is what the buffer begins with.
            record = replace(self._record, upload_id=upload.id, parts_digest=parts_digest({}))
            await self._store(record, self._buffer[: record.size])
        except BaseException:
            await upload.abort()
            raise
        self._uploader = PartUploader(upload, {})
        return self._uploader

    async def _record_progress(self, uploader: PartUploader) -> None:
        parts = uploader.stored_in_order()
        if len(parts) > self._record.parts:
            await self._store(self._record_of(parts, self._sizes.end(len(parts))), b"")

    async def _put_on_record(self) -> None:
        """Make durable all that was written. After a failure the writer can only be cancelled or closed."""
        if self._lost is not None:
            raise self._lost
        if self._failed:
            raise DriverError(NAME, f"what was written to {self._path} could not be stored")
        if self._size == self._record.size:
            if self._written:
                await self._check_record()
            return
        try:
            parts = {} if self._uploader is None else await self._unless_lost(self._uploader.settle())
            await self._store(self._record_of(parts, self._size), self._buffer)
        except StorageError:
            self._failed = True
            raise

    def _record_of(self, parts: dict[int, Part], size: int) -> Record:
        return Record(
            replaces=self._record.replaces,
            upload_id=self._record.upload_id,
            first_part_size=self._record.first_part_size,
            parts=len(parts),
            parts_digest=parts_digest(parts),
            size=size,
        )

    async def _store(self, record: Record, tail: bytes | bytearray) -> None:
        try:
            self._record_etag = await store_record(
                self._bucket, self._path, record, tail, replacing=self._record_etag
            )
        except ConditionError as error:
            self._lost = await self._why_lost()
            raise self._lost from error
        self._record = record
        await self._drop_superseded()

    async def _check_record(self) -> None:
        """Raise unless the file is still this writer's."""
        found = await self._bucket.head(self._bucket.keys.record(self._path))
        if found is None or found.etag != self._record_etag:
            self._lost = PathNotFoundError(self._path) if found is None else WriterBusyError(self._path)
            raise self._lost

    async def _unless_lost(self, parts: Awaitable[_T]) -> _T:
        """What becomes of parts. Where their upload is gone, somebody else has ended it, and has the file."""
        try:
            return await parts
        except PathNotFoundError as error:
            self._lost = await self._why_lost()
            raise self._lost from error

    async def _why_lost(self) -> StorageError:
        there = await load_record(self._bucket, self._path)
        return PathNotFoundError(self._path) if there is None else WriterBusyError(self._path)

    async def _publish_small(self) -> None:
        key = self._bucket.keys.of(self._path)
        await self._bucket.put_once(key, bytes(self._buffer), replacing=self._record.replaces)

    async def _publish_parts(self, uploader: PartUploader) -> None:
        await self._unless_lost(uploader.settle())
        key = self._bucket.keys.of(self._path)
        before = await self._bucket.head(key)
        if ("" if before is None else before.etag) != self._record.replaces:
            raise ConditionError
        try:
            await uploader.publish(bytes(self._buffer))
        except PathNotFoundError:
            # Aborted, or put together by a first attempt whose answer was lost.
            found = await self._bucket.head(key)
            if found is None or found.size != self._size or found.etag == self._record.replaces:
                raise

    async def _drop_superseded(self) -> None:
        upload, self._superseded = self._superseded, None
        if upload is None:
            return
        try:
            await upload.abort()
        except StorageError as error:
            # It will be found when orphans are looked for: no record speaks of it any more.
            log.warning("a superseded upload was not aborted", path=self._path, error=str(error))

    async def _forget_record(self) -> None:
        """Remove the record, which is void: left behind, it does no harm."""
        try:
            await self._bucket.delete([self._bucket.keys.record(self._path)])
        except StorageError as error:
            log.warning("a record of a committed file was not removed", path=self._path, error=str(error))

    def _check_writable(self, *, cancelling: bool = False) -> None:
        if self._committed or self._closed:
            raise WriterClosedError(self._path)
        if self._lost is not None and not cancelling:
            raise self._lost

    def _release(self) -> None:
        if not self._closed:
            self._closed = True
            self._buffer = bytearray()
            self._release_path()
