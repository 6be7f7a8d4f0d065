"""Moving a file, which S3 does by copying it in the backend and deleting the original."""

from __future__ import annotations

import asyncio

from blob_service.concurrency import CALLS_AT_ONCE
from blob_service.drivers.errors import DriverError, PathNotFoundError
from blob_service.drivers.s3.bucket import Bucket, Object
from blob_service.drivers.s3.failures import is_not_implemented
from blob_service.drivers.s3.multipart import MultipartUpload, Part
from blob_service.drivers.s3.parts import MAX_PART, copied_parts, part_sizes
from blob_service.drivers.s3.reader import open_reader
from blob_service.drivers.s3.uploader import PartUploader
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
        try:
            if found.size <= min(bucket.settings.multipartcopythresholdsize, MAX_PART):
                await bucket.copy(found, target)
            else:
                await self._copy_by_parts(found, target)
        except DriverError as error:
            # RADOS Gateways until 2024 copy nothing that is encrypted.
            if not is_not_implemented(error.__cause__):
                raise
            await self._copy_through_here(source, target)
        await bucket.delete([found.key, bucket.keys.record(source)])

    async def _copy_through_here(self, source: str, target: str) -> None:
        """Copy by reading and writing, where the backend does not copy itself."""
        bucket = self._bucket
        sizes = part_sizes(bucket.settings.chunksize)
        async with await open_reader(bucket, source, 0, None) as reader:
            part = bytearray()
            uploader: PartUploader | None = None
            try:
                async for chunk in reader:
                    part += chunk
                    number = 1 if uploader is None else uploader.count + 1
                    while len(part) > sizes.size(number):
                        uploader = uploader or PartUploader(await MultipartUpload.begin(bucket, target), {})
                        whole, part = part[: sizes.size(number)], part[sizes.size(number) :]
                        await uploader.add(whole)
                        number += 1
                if uploader is None:
                    await bucket.put(target, part)
                    return
                await uploader.add(part)
                await uploader.upload.complete(await uploader.settle())
            except BaseException:
                if uploader is not None:
                    await uploader.stop()
                    await uploader.upload.abort()
                raise

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
