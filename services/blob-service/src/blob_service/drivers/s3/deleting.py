"""Deleting what is at a path and below it, and what no path leads to any more."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import structlog

from blob_service.concurrency import gather_bounded
from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.interface import Finding
from blob_service.drivers.s3.bucket import Bucket
from blob_service.drivers.s3.keys import is_record, owner_of_record
from blob_service.drivers.s3.multipart import MultipartUpload, PendingUpload, pending_uploads
from blob_service.drivers.s3.record import DamagedRecordError, load_record_only

# A multipart upload that is younger may belong to a copy that goes on at this moment.
YOUNGEST_ORPHAN = timedelta(hours=24)

log = structlog.get_logger(__name__)


async def delete_all(bucket: Bucket, path: str) -> None:
    """See `StorageDriver.delete`: the file, what is below the path, and the uploads that records speak of."""
    key = bucket.keys.of(path)
    found = await bucket.head(key)
    anything = found is not None
    if found is not None:
        await bucket.delete([key])
    async for objects in bucket.all_below(bucket.keys.prefix(path)):
        anything = True
        keys = [each.key for each in objects]
        # First the parts, which only the record tells of.
        await gather_bounded(
            lambda record: _abort_recorded(bucket, owner_of_record(record)), filter(is_record, keys)
        )
        await bucket.delete(keys)
    if not anything:
        raise PathNotFoundError(path)


async def orphans(bucket: Bucket, older_than: timedelta, *, abort: bool) -> AsyncGenerator[Finding, None]:
    """The multipart uploads that were begun longer ago and that no record speaks of; aborts them if told to.

    A crash leaves them: nothing shows them, and they cost what their bytes cost. An upload on record is one
    that a client may continue, however old it is; it goes with its folder when uploads are purged. Nothing
    younger than YOUNGEST_ORPHAN is touched, whatever is asked for.
    """
    begun_before = datetime.now(UTC) - max(older_than, YOUNGEST_ORPHAN)
    async for upload in pending_uploads(bucket, bucket.keys.root):
        if upload.initiated >= begun_before or await _is_on_record(bucket, upload):
            continue
        if abort:
            await MultipartUpload(bucket, upload.key, upload.id).abort()
        begun = upload.initiated.isoformat(timespec="seconds")
        log.info("an orphaned multipart upload", key=upload.key, begun=begun, aborted=abort)
        yield Finding(
            "orphaned multipart upload", bucket.keys.path(upload.key), f"begun {begun}", repaired=abort
        )


async def _is_on_record(bucket: Bucket, upload: PendingUpload) -> bool:
    try:
        record = await load_record_only(bucket, bucket.keys.path(upload.key))
    except DamagedRecordError:
        # Nobody can tell; it goes with its folder.
        return True
    return record is not None and record.upload_id == upload.id


async def _abort_recorded(bucket: Bucket, key: str) -> None:
    try:
        record = await load_record_only(bucket, bucket.keys.path(key))
    except DamagedRecordError as error:
        # Its upload, if there is one, is an orphan from now on.
        log.warning("a damaged record is deleted", error=str(error))
        return
    if record is not None and record.upload_id:
        await MultipartUpload(bucket, key, record.upload_id).abort()
