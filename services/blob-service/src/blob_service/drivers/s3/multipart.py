"""Multipart uploads: begun, filled, put together or aborted; and the list of those that are under way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.s3.body import Body, Content, content_md5
from blob_service.drivers.s3.bucket import PAGE, PATIENCE, Bucket, Object, unquoted
from blob_service.drivers.s3.failures import REQUEST_ERRORS, code_of, is_missing_upload, storage_error
from blob_service.drivers.s3.requests import NAME, Attempt, Deadline

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the endpoint has."""

    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """A multipart upload that was neither put together nor aborted."""

    key: str
    id: str
    initiated: datetime


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """One multipart upload. Its calls raise PathNotFoundError when it was aborted or put together before."""

    bucket: Bucket
    key: str
    id: str

    @classmethod
    async def begin(cls, bucket: Bucket, key: str) -> MultipartUpload:
        """Begin the upload of an object."""

        async def attempt(client: S3Client, deadline: Deadline) -> str:
            made = await client.create_multipart_upload(
                Bucket=bucket.name, Key=key, ContentType="application/octet-stream", **bucket.new_object
            )
            return made["UploadId"]

        upload_id = await bucket.requests("CreateMultipartUpload", bucket.keys.path(key), attempt)
        return cls(bucket, key, upload_id)

    @property
    def path(self) -> str:
        """The path of the object that it becomes."""
        return self.bucket.keys.path(self.key)

    async def put(self, number: int, content: Content) -> Part:
        """Upload a part, in place of one that has this number."""
        digest = await content_md5(content)

        async def attempt(client: S3Client, deadline: Deadline) -> Part:
            stored = await client.upload_part(
                **self._named,
                PartNumber=number,
                Body=Body(content, deadline.progressed),  # type: ignore[arg-type]  # see Body
                ContentLength=len(content),
                ContentMD5=digest,
            )
            return Part(unquoted(stored["ETag"]), len(content))

        return await self._request("UploadPart", attempt)

    async def copy(self, number: int, source: Object, first: int, last: int) -> Part:
        """Make a part of the bytes from `first` to `last` (included) of another object, in the backend."""

        async def attempt(client: S3Client, deadline: Deadline) -> Part:
            stored = await client.upload_part_copy(
                **self._named,
                PartNumber=number,
                CopySource={"Bucket": self.bucket.name, "Key": source.key},
                CopySourceIfMatch=f'"{source.etag}"',
                CopySourceRange=f"bytes={first}-{last}",
            )
            return Part(unquoted(stored["CopyPartResult"]["ETag"]), last - first + 1)

        return await self._request("UploadPartCopy", attempt, patience=PATIENCE)

    async def parts(self) -> dict[int, Part]:
        """The parts that the endpoint has, by number."""
        found: dict[int, Part] = {}
        marker = 0
        while True:

            async def attempt(client: S3Client, deadline: Deadline, marker: int = marker) -> Any:
                options: dict[str, Any] = {"PartNumberMarker": marker} if marker else {}
                return await client.list_parts(**self._named, MaxParts=PAGE, **options)

            page = await self._request("ListParts", attempt)
            for each in page.get("Parts", []):
                found[each["PartNumber"]] = Part(unquoted(each["ETag"]), each["Size"])
            if not page.get("IsTruncated"):
                return found
            marker = max(found, default=0)

    async def complete(self, parts: Mapping[int, Part]) -> None:
        """Put the object together of these parts, and make it visible.

        If the answer to a first attempt was lost, the next one is told that there is no such upload; whether
        the object is there then tells what happened, and the caller is the one who can ask.
        """
        listed: Any = [
            {"PartNumber": number, "ETag": f'"{part.etag}"'} for number, part in sorted(parts.items())
        ]

        async def attempt(client: S3Client, deadline: Deadline) -> None:
            await client.complete_multipart_upload(**self._named, MultipartUpload={"Parts": listed})

        await self._request("CompleteMultipartUpload", attempt, patience=PATIENCE)

    async def abort(self) -> None:
        """Drop the parts. Nothing happens if there is no such upload any more."""

        async def attempt(client: S3Client, deadline: Deadline) -> None:
            await client.abort_multipart_upload(**self._named)

        try:
            await self._request("AbortMultipartUpload", attempt)
        except PathNotFoundError:
            return

    @property
    def _named(self) -> Any:
        return {"Bucket": self.bucket.name, "Key": self.key, "UploadId": self.id}

    async def _request(self, operation: str, attempt: Attempt[_T], *, patience: float | None = None) -> _T:
        try:
            return await self.bucket.requests.make(operation, self.path, attempt, patience=patience)
        except REQUEST_ERRORS as error:
            if is_missing_upload(error) or code_of(error) == "PreconditionFailed":
                raise PathNotFoundError(self.path) from error
            raise storage_error(NAME, operation, self.path, error) from error


async def pending_uploads(bucket: Bucket, prefix: str) -> AsyncIterator[PendingUpload]:
    """The multipart uploads below a prefix that are neither put together nor aborted, page by page."""
    markers: dict[str, Any] = {}
    while True:

        async def attempt(
            client: S3Client, deadline: Deadline, markers: dict[str, Any] = markers
        ) -> dict[str, Any]:
            return dict(
                await client.list_multipart_uploads(
                    Bucket=bucket.name, Prefix=prefix, MaxUploads=PAGE, **markers
                )
            )

        page = await bucket.requests("ListMultipartUploads", bucket.keys.path(prefix), attempt)
        for each in page.get("Uploads", []):
            yield PendingUpload(each["Key"], each["UploadId"], each["Initiated"])
        if not page.get("IsTruncated"):
            return
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
