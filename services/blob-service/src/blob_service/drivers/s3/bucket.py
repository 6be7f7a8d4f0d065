"""The bucket's objects: the requests that the driver is made of, with what each needs to be right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.s3.body import Body, Content, content_md5
from blob_service.drivers.s3.failures import (
    REQUEST_ERRORS,
    code_of,
    for_one_key,
    is_missing,
    is_refused_condition,
    storage_error,
)
from blob_service.drivers.s3.keys import Keys
from blob_service.drivers.s3.requests import NAME, Deadline, Requests
from blob_service.drivers.s3.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

# S3's limits for one listing and one deletion.
PAGE = 1000

# What S3 works on without a word until it is done: copying, and putting parts together.
PATIENCE = 300.0

# What is taken from a body at once.
_READ_BYTES = 1 << 20


class ConditionError(Exception):
    """What the object was to be, or not to be, does not hold: somebody else changed it."""


@dataclass(frozen=True, slots=True)
class Object:
    """What is known of an object. The entity tag stands without its quotes."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an object, and the object that they are of."""

    content: bytes
    etag: str
    # Of the whole object.
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a listing: what lies right here, and the folders (keys with a slash at the end)."""

    objects: Sequence[Object]
    folders: Sequence[str]
    # Where the next page begins; empty if there is none.
    token: str
    # The greatest key or folder on the page; empty for an empty page.
    last: str


class Bucket:
    """The objects of one bucket, below the root directory. Raises StorageError, each about a path."""

    def __init__(self, requests: Requests, settings: Settings, keys: Keys) -> None:
        self.requests = requests
        self.settings = settings
        self.keys = keys
        self.name = settings.bucket
        self.new_object = settings.for_new_objects()

    async def head(self, key: str) -> Object | None:
        """What is at a key; None for nothing."""

        async def attempt(client: S3Client, deadline: Deadline) -> Object | None:
            try:
                found = await client.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            return Object(key, found["ContentLength"], unquoted(found["ETag"]), found["LastModified"])

        return await self.requests("HeadObject", self.keys.path(key), attempt)

    async def read(self, key: str, first: int, last: int | None, *, etag: str | None = None) -> Piece | None:
        """The bytes from `first` to `last` (included; None for all), as far as they are there.

        None when the range begins at or behind the end. With `etag` the object must be that one. Raises
        PathNotFoundError, ConditionError.
        """
        options: dict[str, Any] = {} if etag is None else {"IfMatch": f'"{etag}"'}
        if first or last is not None:
            options["Range"] = f"bytes={first}-{'' if last is None else last}"

        async def attempt(client: S3Client, deadline: Deadline) -> Piece | None:
            try:
                found = await client.get_object(Bucket=self.name, Key=key, **options)
            except ClientError as error:
                if code_of(error) in {"InvalidRange", "416"}:
                    return None
                if etag is not None and is_refused_condition(error) and not is_missing(error):
                    raise ConditionError from error
                raise
            async with found["Body"] as body:
                chunks = []
                while chunk := await body.read(_READ_BYTES):
                    chunks.append(chunk)
                    deadline.progressed()
            content = b"".join(chunks)
            whole = found.get("ContentRange", "").rpartition("/")[2]
            size = int(whole or len(content))
            return Piece(content, unquoted(found["ETag"]), size, found["LastModified"])

        return await self.requests("GetObject", self.keys.path(key), attempt)

    async def read_if_there(self, key: str, first: int, last: int | None) -> Piece | None:
        """As `read`; None also when there is no object."""
        try:
            return await self.read(key, first, last)
        except PathNotFoundError:
            return None

    async def put(
        self, key: str, content: Content, *, replacing: str | None = None, reported: str | None = None
    ) -> str:
        """Store an object whole; returns its entity tag.

        `replacing` is the entity tag of what may be there, empty for nothing. Raises ConditionError if
        something else is there. Errors are about the path `reported`, or that of the key.
        """
        options: dict[str, Any] = {}
        if replacing is not None:
            # Without quotes: the RADOS Gateway compares the header as it is, and AWS takes both.
            options = {"IfMatch": replacing} if replacing else {"IfNoneMatch": "*"}
        path = reported or self.keys.path(key)
        digest = await content_md5(content)

        async def attempt(client: S3Client, deadline: Deadline) -> str:
            stored = await client.put_object(
                Bucket=self.name,
                Key=key,
                Body=Body(content, deadline.progressed) if content else b"",  # type: ignore[arg-type]  # see Body
                ContentLength=len(content),
                ContentMD5=digest,
                ContentType="application/octet-stream",
                **options,
                **self.new_object,
            )
            return unquoted(stored["ETag"])

        try:
            return await self.requests.make("PutObject", path, attempt)
        except REQUEST_ERRORS as error:
            if replacing is not None and is_refused_condition(error):
                raise ConditionError from error
            raise storage_error(NAME, "PutObject", path, error) from error

    async def put_once(self, key: str, content: bytes, *, replacing: str, reported: str | None = None) -> str:
        """As `put` with a condition, for content that nobody else puts there.

        If the answer to a first attempt was lost, the next one meets its own work, which is then taken for
        what it is.
        """
        try:
            return await self.put(key, content, replacing=replacing, reported=reported)
        except ConditionError:
            there = await self.read_if_there(key, 0, None)
            if there is None or there.content != content:
                raise
            return there.etag

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, those that are not there included."""
        for start in range(0, len(keys), PAGE):
            await self._delete_page(keys[start : start + PAGE])

    async def _delete_page(self, keys: Sequence[str]) -> None:
        async def attempt(client: S3Client, deadline: Deadline) -> None:
            answer = await client.delete_objects(
                Bucket=self.name, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
            for failed in answer.get("Errors", []):
                error = for_one_key(failed.get("Code", ""), failed.get("Key", ""))
                if error is not None:
                    raise error

        await self.requests("DeleteObjects", self.keys.path(keys[0]), attempt)

    async def page(
        self, prefix: str, *, after: str = "", folders: bool = True, limit: int = PAGE, token: str = ""
    ) -> Listed:
        """What begins with `prefix` and comes after the key `after`, in the order of keys.

        With `folders`, what has a slash behind the prefix is one folder up to there. `token` is that of the
        page before, for which all else was the same.
        """
        options: dict[str, Any] = {"Delimiter": "/"} if folders else {}
        if token:
            options["ContinuationToken"] = token
        elif after:
            options["StartAfter"] = after

        async def attempt(client: S3Client, deadline: Deadline) -> Listed:
            found = await client.list_objects_v2(
                Bucket=self.name, Prefix=prefix, MaxKeys=min(limit, PAGE), **options
            )
            objects = [
                Object(each["Key"], each["Size"], unquoted(each["ETag"]), each["LastModified"])
                for each in found.get("Contents", [])
            ]
            names = [each["Prefix"] for each in found.get("CommonPrefixes", [])]
            last = max((*(each.key for each in objects), *names), default="")
            more = found["NextContinuationToken"] if found.get("IsTruncated") else ""
            return Listed(objects, names, more, last)

        return await self.requests("ListObjectsV2", self.keys.path(prefix), attempt)

    async def all_below(self, prefix: str) -> AsyncIterator[Sequence[Object]]:
        """Every object whose key begins with `prefix`, page by page."""
        token = ""
        while True:
            listed = await self.page(prefix, folders=False, token=token)
            if listed.objects:
                yield listed.objects
            token = listed.token
            if not token:
                return

    async def copy(self, source: Object, destination: str) -> None:
        """Copy an object of at most 5 GiB whole, in the backend."""
        path = self.keys.path(source.key)

        async def attempt(client: S3Client, deadline: Deadline) -> None:
            await client.copy_object(
                Bucket=self.name,
                Key=destination,
                CopySource={"Bucket": self.name, "Key": source.key},
                CopySourceIfMatch=f'"{source.etag}"',
                **self.new_object,
            )

        try:
            await self.requests.make("CopyObject", path, attempt, patience=PATIENCE)
        except REQUEST_ERRORS as error:
            if is_refused_condition(error):
                # It was there a moment ago, and was deleted or replaced since.
                raise PathNotFoundError(path) from error
            raise storage_error(NAME, "CopyObject", path, error) from error

    async def heads(self, *keys: str) -> list[Object | None]:
        """What is at each key."""
        return await asyncio.gather(*map(self.head, keys))


def nanoseconds(moment: datetime) -> int:
    """A moment as nanoseconds since 1970. Whole seconds: some answers have no more, and all are to agree."""
    return int(moment.timestamp()) * 1_000_000_000


def unquoted(etag: str) -> str:
    """An entity tag without its quotes."""
    return etag.strip('"')
