"""Content-addressed blobs: their bytes lie under their canonical digest, once for all repositories."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import structlog

from blob_service.driver_calls import gather_calls
from blob_service.drivers.interface import (
    FileInfo,
    FileReader,
    PathNotFoundError,
    RedirectRequest,
    StorageDriver,
)
from blob_service.failures import blob_unknown, digest_mismatch
from blob_service.hashing import digest_of
from blob_service.layout import blob_data, blob_folder, blobs_folder
from blob_service.metrics import BLOB_READ_BYTES, CORRUPT_BLOBS
from moorage.digest import CANONICAL_ALGORITHM, Digest, InvalidDigestError
from moorage.errors import ErrorCode, RegistryError
from moorage.locks import KeyedLocks

# What is read or stored whole, and so held in memory: twice the largest manifest that clients rely on.
MAX_CONTENT_BYTES = 8 * 1024 * 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that is there. `size` is in bytes."""

    digest: Digest
    size: int


class IncomingContent(Protocol):
    """Content on its way to its address, which only its holder can change."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def publish(self, destination: str) -> None:
        """Make it durable and move it to `destination`, in place of what is there.

        Like `discard`, it awaits calls of the driver only.
        """
        ...

    async def discard(self) -> None:
        """Remove it."""
        ...


class BlobReader:
    """A blob's bytes from an offset, in chunks of at most 1 MiB; an asynchronous context manager."""

    def __init__(self, digest: Digest, reader: FileReader, length: int | None) -> None:
        self._digest = digest
        self._reader = reader
        # What the caller was promised, when it said how much it wants.
        self._missing = length

    @property
    def descriptor(self) -> int | None:
        """See `FileReader.descriptor`."""
        return self._reader.descriptor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reader.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next chunk. Raises RegistryError RANGE_INVALID instead of ending early."""
        chunk = await anext(self._reader, None)
        if chunk is None:
            if self._missing:
                log.error("a blob ends before the range asked for", digest=str(self._digest))
                raise RegistryError(ErrorCode.RANGE_INVALID, {"missing": self._missing})
            raise StopAsyncIteration
        if self._missing is not None:
            self._missing -= len(chunk)
        BLOB_READ_BYTES.inc(len(chunk))
        return chunk


class Blobs:
    """The blobs of one storage driver."""

    def __init__(self, driver: StorageDriver, executor: Executor, *, redirects: bool = True) -> None:
        """`redirects`: clients may be sent to the backend, if the driver knows how."""
        self._redirects = redirects
        self._driver = driver
        self._executor = executor
        # Who stores a blob waits for whoever stores the same one: what is seen to be there is durable then.
        self._storing: KeyedLocks[Digest] = KeyedLocks()

    async def stat(self, digests: Sequence[Digest]) -> list[Blob]:
        """Those of the blobs that are there, in the order of the request."""
        infos = await gather_calls(self._driver, self._find, digests)
        return [
            Blob(digest, info.size) for digest, info in zip(digests, infos, strict=True) if info is not None
        ]

    async def read(self, digest: Digest, offset: int, length: int | None) -> BlobReader:
        """Open a blob at `offset`, for `length` bytes or (None) all that follow.

        Raises RegistryError: BLOB_UNKNOWN, or RANGE_INVALID for a range that begins outside the blob or is
        negative.
        """
        if offset < 0 or (length is not None and length < 0):
            raise RegistryError(ErrorCode.RANGE_INVALID, {"reason": "a range has no negative numbers"})
        path = blob_data(digest)
        try:
            if offset and (size := (await self._driver.stat(path)).size) < offset:
                raise RegistryError(ErrorCode.RANGE_INVALID, {"size": size})
            return BlobReader(digest, await self._driver.reader(path, offset, length=length), length)
        except PathNotFoundError as error:
            raise blob_unknown(digest) from error

    async def redirect_url(self, digest: Digest, request: RedirectRequest) -> str | None:
        """Where a client gets a blob from the backend itself; None where it is to be served from here."""
        return await self._driver.redirect_url(request, blob_data(digest)) if self._redirects else None

    async def get(self, digest: Digest, max_size: int) -> bytes:
        """A small blob whole, verified: content that does not match its digest counts as not there.

        Raises RegistryError: BLOB_UNKNOWN, or SIZE_INVALID with HTTP status 413 if the blob is larger than
        `max_size` or MAX_CONTENT_BYTES.
        """
        info = await self._find(digest)
        if info is None:
            raise blob_unknown(digest)
        if info.size > min(max_size, MAX_CONTENT_BYTES):
            raise RegistryError(ErrorCode.SIZE_INVALID, {"size": info.size}, http_status=413)
        content = await self._content(digest)
        if content is None:
            raise blob_unknown(digest)
        BLOB_READ_BYTES.inc(len(content))
        return content

    async def put(self, content: bytes, expected: Digest | None) -> Blob:
        """Store a small blob whole under its canonical digest; durable. `expected` is the caller's digest.

        Raises RegistryError: DIGEST_INVALID if the content does not match it, SIZE_INVALID with HTTP status
        413 for content over MAX_CONTENT_BYTES; nothing is stored then.
        """
        if len(content) > MAX_CONTENT_BYTES:
            raise RegistryError(ErrorCode.SIZE_INVALID, {"limit": MAX_CONTENT_BYTES}, http_status=413)
        canonical = await digest_of(content, self._executor)
        if expected is not None and not await self._matches(content, canonical, expected):
            raise digest_mismatch(expected)
        async with self._storing.hold(canonical):
            placed = await self._driver.together(lambda: self._put_new(canonical, content))
            # What is there is read, not trusted: a blob that a crash of another registry tore heals here.
            if not placed and await self._content(canonical) is None:
                await self._driver.put_content(blob_data(canonical), content)
        return Blob(canonical, len(content))

    async def adopt(self, content: IncomingContent, canonical: Digest) -> Blob:
        """Store verified content of any size under its canonical digest; durable.

        A blob that is there already stays, unless its size is another one: then it is what an older registry
        left when it was interrupted, and the content takes its place.
        """
        async with self._storing.hold(canonical):
            await self._driver.together(lambda: self._take(content, canonical))
        return Blob(canonical, content.size)

    async def delete(self, digest: Digest) -> None:
        """Remove a blob's bytes; raises RegistryError BLOB_UNKNOWN if it is not there."""
        try:
            await self._driver.delete(blob_folder(digest))
        except PathNotFoundError as error:
            raise blob_unknown(digest) from error

    async def page(self, after: str, limit: int) -> tuple[list[Digest], bool]:
        """The digests of the blobs after a digest ("" for none), at most `limit`, and whether more follow.

        What a crash of another registry left without its bytes is among them.
        """
        hexa = after.removeprefix(f"{CANONICAL_ALGORITHM}:")
        root = blobs_folder(CANONICAL_ALGORITHM)
        found: list[Digest] = []
        for folder in await self._children(root):
            name = folder.rpartition("/")[2]
            if name < hexa[: len(name)]:
                continue
            found += _digests(await self._children(folder, after=hexa if hexa.startswith(name) else ""))
            if len(found) > limit:
                return found[:limit], True
        return found, False

    async def _children(self, folder: str, *, after: str = "") -> list[str]:
        try:
            return await self._driver.list(folder, after=after)
        except PathNotFoundError:
            return []

    async def _put_new(self, canonical: Digest, content: bytes) -> bool:
        """Store a small blob, unless something of its size is there: then False."""
        info = await self._find(canonical)
        if info is not None and info.size == len(content):
            return False
        await self._driver.put_content(blob_data(canonical), content)
        return True

    async def _take(self, content: IncomingContent, canonical: Digest) -> None:
        info = await self._find(canonical)
        if info is not None and info.size == content.size:
            await content.discard()
        else:
            await content.publish(blob_data(canonical))

    async def _find(self, digest: Digest) -> FileInfo | None:
        try:
            info = await self._driver.stat(blob_data(digest))
        except PathNotFoundError:
            return None
        return None if info.is_dir else info

    async def _content(self, digest: Digest) -> bytes | None:
        """A small blob's content, or None if it is not there or does not match its digest."""
        try:
            content = await self._driver.get_content(blob_data(digest))
        except PathNotFoundError:
            return None
        if await digest_of(content, self._executor, digest.algorithm) == digest:
            return content
        CORRUPT_BLOBS.inc()
        log.error("a stored blob does not match its digest", digest=str(digest), size=len(content))
        return None

    async def _matches(self, content: bytes, canonical: Digest, expected: Digest) -> bool:
        if expected.is_canonical:
            return expected == canonical
        return await digest_of(content, self._executor, expected.algorithm) == expected


def _digests(paths: Sequence[str]) -> list[Digest]:
    """The digests that name these folders; what else lies there is left out."""
    digests = []
    for path in paths:
        try:
            digests.append(Digest.parse(f"{CANONICAL_ALGORITHM}:{path.rpartition('/')[2]}"))
        except InvalidDigestError:
            log.warning("something that is no blob lies among the blobs", path=path)
    return digests
