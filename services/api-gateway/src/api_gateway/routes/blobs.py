"""Blobs, by digest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from api_gateway.byteranges import ByteRange, Multipart, UnsatisfiableRangeError, parse_ranges
from api_gateway.clients.blobs import BlobReader
from api_gateway.clients.channel import ChannelUnavailableError
from api_gateway.clients.contents import SmallBlobs
from api_gateway.clients.lookups import Lookups
from api_gateway.clients.metadata import MetadataClient
from api_gateway.clients.redirects import Redirects
from api_gateway.conditional import Precondition, evaluate, range_applies
from api_gateway.events import Listener
from api_gateway.headers import HeaderList, field
from api_gateway.memory import LinkedBlob
from api_gateway.refusal import RefusalError
from api_gateway.request import Request
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2

log = structlog.get_logger("api_gateway.blobs")

_CONTENT_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class _Body:
    """The body of an answer, `length` bytes: parts of a blob, each behind a head, and what comes last."""

    length: int
    parts: Sequence[tuple[bytes, ByteRange]]
    tail: bytes = b""

    def cut(self, content: bytes) -> bytes:
        """The body, from the blob's content."""
        pieces = [head + content[part.start : part.start + part.length] for head, part in self.parts]
        return b"".join(pieces) + self.tail


class BlobRoutes:
    """Serves blobs through a repository that links them."""

    def __init__(
        self,
        metadata: MetadataClient,
        lookups: Lookups,
        reader: BlobReader,
        small: SmallBlobs,
        redirects: Redirects,
        listener: Listener,
    ) -> None:
        self._metadata = metadata
        self._lookups = lookups
        self._reader = reader
        self._small = small
        self._redirects = redirects
        self._listener = listener

    async def get(self, request: Request) -> None:
        """Serve a blob, or ranges of it, or 304 when the client holds it. HEAD leaves the content out.

        Where the storage backend can serve the client itself, the answer is a redirect there; ranges are then
        asked of the backend, too.
        """
        blob = await self._lookups.blob(request.name, str(request.digest))
        precondition = evaluate(request.headers, blob.digests)
        if precondition is Precondition.FAILED:
            await request.respond(412)
            return
        await self._serve(request, blob, precondition)
        # When the bytes are out, whoever sent them; a client that went away has raised.
        self._listener.blob_pulled(request, blob)

    async def delete(self, request: Request) -> None:
        """Remove the repository's link to a blob."""
        with self._listener.admitted():
            await self._metadata.unlink_blob(request.name, str(request.digest))
            await self._listener.blob_deleted(request)
        await request.respond(202)

    async def _serve(self, request: Request, blob: LinkedBlob, precondition: Precondition) -> None:
        if precondition is Precondition.NOT_MODIFIED:
            await request.respond(304, blob.validators)
            return
        url = await self._redirects.url(blob.digest, request.method, request.record.client)
        if url is not None:
            # Nobody keeps it: it works for a while only.
            headers = [field(b"location", url), blob.validators[0], (b"cache-control", b"no-store")]
            await request.respond(307, headers)
            return
        ranges = _ranges(request, blob)
        if ranges:
            await self._serve_ranges(request, blob, ranges)
        elif request.method == "HEAD" or blob.size == 0:
            await request.respond(200, blob.fields, length=blob.size)
        elif (content := await self._small.content(blob)) is not None:
            await request.respond(200, blob.fields, content)
        else:
            body = _Body(blob.size, [(b"", ByteRange(0, blob.size))])
            await self._send(request, 200, [*blob.fields], blob, body)

    async def _serve_ranges(self, request: Request, blob: LinkedBlob, ranges: Sequence[ByteRange]) -> None:
        if len(ranges) > 1:
            multipart = Multipart(list(ranges), size=blob.size, content_type=_CONTENT_TYPE)
            headers = [*blob.common, field(b"content-type", multipart.content_type)]
            body = _Body(multipart.length, multipart.parts(), multipart.tail)
        else:
            headers = [*blob.fields, field(b"content-range", ranges[0].content_range(blob.size))]
            body = _Body(ranges[0].length, [(b"", ranges[0])])
        content = None if request.method == "HEAD" else await self._small.content(blob)
        if content is not None:
            await request.respond(206, headers, body.cut(content))
        else:
            await self._send(request, 206, headers, blob, body)

    async def _send(
        self, request: Request, status: int, headers: HeaderList, blob: LinkedBlob, body: _Body
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

    async def _read(self, blob: LinkedBlob, body: _Body) -> AsyncGenerator[bytes, None]:
        for head, part in body.parts:
            async with aclosing(self._reader.read(blob.digest, part.start, part.length)) as pieces:
                first = await anext(pieces)
                if head:
                    yield head
                yield first
                async for piece in pieces:
                    yield piece
        if body.tail:
            yield body.tail


def _loan(blob: LinkedBlob, body: _Body) -> blob_pb2.SendLoan:
    parts = [
        blob_pb2.SendLoan.Part(head=head, offset=part.start, length=part.length) for head, part in body.parts
    ]
    return blob_pb2.SendLoan(digest=blob.digest, size=blob.size, parts=parts, tail=body.tail)


async def _rejoined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async with aclosing(rest):
        async for piece in rest:
            yield piece


def _ranges(request: Request, blob: LinkedBlob) -> Sequence[ByteRange]:
    header = request.headers.get(b"range")
    if header is None or not range_applies(request.headers, blob.digests):
        return ()
    try:
        return parse_ranges(header, blob.size)
    except UnsatisfiableRangeError as error:
        refusal = RegistryError(ErrorCode.RANGE_INVALID, {"size": blob.size, "reason": str(error)})
        raise RefusalError.wrap(refusal, [field(b"content-range", f"bytes */{blob.size}")]) from error
