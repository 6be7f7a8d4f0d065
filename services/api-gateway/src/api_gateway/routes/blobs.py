"""Blobs, by digest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from api_gateway.byteranges import ByteRange, Multipart, UnsatisfiableRangeError, parse_ranges
from api_gateway.clients.blobs import BlobReader
from api_gateway.clients.channel import ChannelUnavailableError
from api_gateway.clients.metadata import MetadataClient
from api_gateway.conditional import Precondition, entity_tag, evaluate, range_applies
from api_gateway.headers import HeaderList, field
from api_gateway.refusal import RefusalError
from api_gateway.request import Request
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2

log = structlog.get_logger("api_gateway.blobs")

_CONTENT_TYPE = "application/octet-stream"

# Content under a digest never changes.
_CACHE_CONTROL = (b"cache-control", b"max-age=31536000")


@dataclass(frozen=True, slots=True)
class _Blob:
    """A blob that the repository links: the canonical digest, under which it is stored, and its bytes."""

    canonical: str
    size: int


@dataclass(frozen=True, slots=True)
class _Body:
    """The body of an answer, `length` bytes: parts of a blob, each behind a head, and what comes last."""

    length: int
    parts: Sequence[tuple[bytes, ByteRange]]
    tail: bytes = b""


class BlobRoutes:
    """Serves blobs through a repository that links them."""

    def __init__(self, metadata: MetadataClient, reader: BlobReader) -> None:
        self._metadata = metadata
        self._reader = reader

    async def get(self, request: Request) -> None:
        """Serve a blob, or ranges of it, or 304 when the client holds it. HEAD leaves the content out."""
        asked = str(request.digest)
        descriptor = await self._metadata.stat_blob(request.name, asked)
        blob = _Blob(descriptor.digest, descriptor.size)
        digests = {asked, blob.canonical}
        precondition = evaluate(request.headers, digests)
        if precondition is Precondition.FAILED:
            await request.respond(412)
            return
        headers: HeaderList = [
            field(b"docker-content-digest", asked),
            field(b"etag", entity_tag(asked)),
            _CACHE_CONTROL,
        ]
        if precondition is Precondition.NOT_MODIFIED:
            await request.respond(304, headers)
            return
        headers.append((b"accept-ranges", b"bytes"))
        await self._serve(request, blob, headers, _ranges(request, blob.size, digests))

    async def delete(self, request: Request) -> None:
        """Remove the repository's link to a blob."""
        await self._metadata.unlink_blob(request.name, str(request.digest))
        await request.respond(202)

    async def _serve(
        self, request: Request, blob: _Blob, headers: HeaderList, ranges: Sequence[ByteRange]
    ) -> None:
        if len(ranges) > 1:
            multipart = Multipart(list(ranges), size=blob.size, content_type=_CONTENT_TYPE)
            headers.append(field(b"content-type", multipart.content_type))
            body = _Body(multipart.length, multipart.parts(), multipart.tail)
            await self._send(request, 206, headers, blob, body)
            return
        headers.append(field(b"content-type", _CONTENT_TYPE))
        if ranges:
            headers.append(field(b"content-range", ranges[0].content_range(blob.size)))
        part = ranges[0] if ranges else ByteRange(0, blob.size)
        body = _Body(part.length, [(b"", part)])
        await self._send(request, 206 if ranges else 200, headers, blob, body)

    async def _send(
        self, request: Request, status: int, headers: HeaderList, blob: _Blob, body: _Body
    ) -> None:
        if body.length == 0 or request.method == "HEAD":
            await request.respond(status, headers, length=body.length)
            return
        if request.can_lend_response:
            try:
                await request.respond_lent(
                    status, headers, body.length, lambda lent: self._reader.send(lent, _loan(blob, body))
                )
            except ChannelUnavailableError:
                log.debug("no data channel: the blob goes through gRPC")
            else:
                return
        async with aclosing(self._read(blob, body)) as pieces:
            # The first piece comes before the head is sent, so a blob that cannot be read is an error, not a
            # 200.
            first = await anext(pieces)
            if len(first) == body.length:
                await request.respond(status, headers, first)
                return
            headers.append(field(b"content-length", str(body.length)))
            await request.stream(status, headers, _rejoined(first, pieces))

    async def _read(self, blob: _Blob, body: _Body) -> AsyncGenerator[bytes, None]:
        for head, part in body.parts:
            async with aclosing(self._reader.read(blob.canonical, part.start, part.length)) as pieces:
                first = await anext(pieces)
                if head:
                    yield head
                yield first
                async for piece in pieces:
                    yield piece
        if body.tail:
            yield body.tail


def _loan(blob: _Blob, body: _Body) -> blob_pb2.SendLoan:
    parts = [
        blob_pb2.SendLoan.Part(head=head, offset=part.start, length=part.length) for head, part in body.parts
    ]
    return blob_pb2.SendLoan(digest=blob.canonical, size=blob.size, parts=parts, tail=body.tail)


async def _rejoined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async with aclosing(rest):
        async for piece in rest:
            yield piece


def _ranges(request: Request, size: int, digests: set[str]) -> Sequence[ByteRange]:
    header = request.headers.get(b"range")
    if header is None or not range_applies(request.headers, digests):
        return ()
    try:
        return parse_ranges(header, size)
    except UnsatisfiableRangeError as error:
        refusal = RegistryError(ErrorCode.RANGE_INVALID, {"size": size, "reason": str(error)})
        raise RefusalError.wrap(refusal, [field(b"content-range", f"bytes */{size}")]) from error
