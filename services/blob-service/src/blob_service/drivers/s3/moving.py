"""Moving a file, which S3 does by copying it in the backend and deleting the original."""

from __future__ import annotations

import asyncio

from blob_service.concurrency import CALLS_AT_ONCE
from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.s3.bucket import Bucket, Object
from blob_service.drivers.s3.multipart import MultipartUpload, Part
from blob_service.drivers.s3.parts import MAX_PART, copied_parts
from moorage.concurrency import for_each


class Mover:
    """Moves files of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._copies = asyncio.Semaphore(bucket.settings.multipartcopymaxconcurrency)

    async def move(self, source: str, destination: str) -> None:
        """See `StorageDriver.move`. A crash before the deletion leaves the file at both places."""
        bucket = self._bucket
        found = await bucket.head(bucket.keys.of(source))
        if found is None:
            raise PathNotFoundError(source)
        if source == destination:
            return
        target = bucket.keys.of(destination)
        if found.size <= min(bucket.settings.multipartcopythresholdsize, MAX_PART):
            await bucket.copy(found, target)
        else:
            await self._copy_by_parts(found, target)
        await bucket.delete([found.key, bucket.keys.record(source)])

    async def _copy_by_parts(self, source: Object, target: str) -> None:
        ranges = copied_parts(source.size, self._bucket.settings.multipartcopychunksize)
        upload = await MultipartUpload.begin(self._bucket, target)

        async def copy(number: int) -> Part:
            async with self._copies:
                return await upload.copy(number, source, *ranges[number - 1])

        try:
            numbers = range(1, len(ranges) + 1)
            limit = max(self._bucket.settings.multipartcopymaxconcurrency, CALLS_AT_ONCE)
            parts = await for_each(copy, list(numbers), limit=limit)
            before = await self._bucket.head(target)
            try:
                await upload.complete(dict(zip(numbers, parts, strict=True)))
            except PathNotFoundError:
                # A first attempt may have succeeded whose answer was lost.
                there = await self._bucket.head(target)
                if there is None or there.size != source.size or there == before:
                    raise
        except BaseException:
            await upload.abort()
            raise
