"""One request on its way through a route, and the ways to answer it.

A thin layer over ASGI: nothing is parsed before somebody asks for it, and bodies are streams in both
directions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from api_gateway.access import Grant
from api_gateway.connection import (
    ABORT,
    LEND_BODY,
    LEND_RESPONSE,
    REST,
    ClientDisconnectedError,
    LendBody,
    LentBody,
    LentResponse,
    lent_response,
)
from api_gateway.headers import HeaderList, Headers, media_type
from api_gateway.limits import refused
from api_gateway.record import RECORD_KEY, RequestRecord
from api_gateway.urls import Origins, URLBuilder
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.pace import ANY_RATE, MinimumRate, Pace

# A body that is answered before it was read: up to this size it is read and dropped, so that the connection
# goes on.
_DROPPED_BODY = 256 * 1024

# A larger one is dropped this long (seconds), and this far (bytes), after the answer, so that the client
# reads the answer before the connection closes. Source: RFC 9112, section 9.6.
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 16 * 1024 * 1024

_CLOSE = (b"connection", b"close")


class Request:
    """A request whose path has been matched.

    `name`, `reference`, `digest` and `upload_id` are the path's parameters, checked against their grammar by
    the router; those that the route does not have are empty.
    """

    __slots__ = (
        "_body_ended",
        "_body_lost",
        "_body_started",
        "_minimum",
        "_origins",
        "_pace",
        "_query",
        "_receive",
        "_send",
        "_stall",
        "digest",
        "grant",
        "headers",
        "method",
        "name",
        "record",
        "reference",
        "response_started",
        "scope",
        "upload_id",
    )

    name: str
    reference: Digest | str
    digest: Digest
    upload_id: str
    grant: Grant

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        origins: Origins,
        stall: float,
        minimum: MinimumRate = ANY_RATE,
    ) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._origins = origins
        self._stall = stall
        self._minimum = minimum
        # Of the body, once it is asked for.
        self._pace: Pace | None = None
        self.headers = Headers(scope["headers"])
        self.method: str = scope["method"]
        self.record: RequestRecord = scope[RECORD_KEY]
        self.response_started = False
        self._query: list[tuple[str, str]] | None = None
        self._body_started = False
        self._body_ended = not self.has_body
        # Somebody who had the connection did not read it to its end.
        self._body_lost = False

    # The head

    @property
    def path(self) -> str:
        """The path as the client wrote it, percent-encoded."""
        raw: bytes = self.scope["raw_path"]
        return raw.decode("ascii")

    @property
    def urls(self) -> URLBuilder:
        """Builds URLs with the origin that this client knows."""
        return self._origins.urls(peer=self.record.peer, scheme=self.scope["scheme"], headers=self.headers)

    @property
    def root(self) -> str:
        """What this client writes before the path of what is outside `http.prefix`; "" if nobody can tell."""
        return self._origins.root(peer=self.record.peer, scheme=self.scope["scheme"], headers=self.headers)

    @property
    def content_length(self) -> int | None:
        """Bytes of the body; None when the client did not say (chunked), or there is none."""
        text = self.headers.get(b"content-length")
        return int(text) if text is not None and text.isascii() and text.isdigit() else None

    @property
    def has_body(self) -> bool:
        """Whether a body of at least one byte is announced."""
        return bool(self.content_length) or b"transfer-encoding" in self.headers

    @property
    def content_type(self) -> str:
        """The Content-Type without its parameters; "" when there is none."""
        return media_type(self.headers.get(b"content-type") or "")

    def query(self, key: str) -> str | None:
        """The first query parameter of that name, percent-decoded; None when there is none."""
        for name, value in self._parameters():
            if name == key:
                return value
        return None

    def query_all(self, key: str) -> list[str]:
        """All query parameters of that name, in order."""
        return [value for name, value in self._parameters() if name == key]

    def _parameters(self) -> list[tuple[str, str]]:
        if self._query is None:
            text: bytes = self.scope["query_string"]
            self._query = parse_qsl(text.decode("latin-1"), keep_blank_values=True) if text else []
        return self._query

    # The body

    async def body(self) -> AsyncGenerator[bytes, None]:
        """The body's bytes as they come in, never an empty piece.

        Backpressure is the server's: it stops reading from the client while nobody asks for more. Raises
        ClientDisconnectedError, and SIZE_INVALID with status 408 when nothing came for the stall deadline.
        """
        while not self._body_ended:
            piece = await self._receive_piece(self._stall)
            if piece:
                yield piece

    async def read_body(self, limit: int) -> bytes | None:
        """The whole body; None as soon as it proves longer than `limit` bytes. Raises what `body` raises."""
        if (self.content_length or 0) > limit:
            return None
        content = bytearray()
        async with aclosing(self.body()) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > limit:
                    return None
        return bytes(content)

    @property
    def can_lend_body(self) -> bool:
        """Whether somebody else can read the body from the connection; nothing may have been read of it."""
        return LEND_BODY in self.scope["extensions"] and not self._body_started

    @asynccontextmanager
    async def lend_body(self) -> AsyncIterator[LentBody]:
        """Lend the connection to whoever reads the body. Raises ClientDisconnectedError."""
        lend: LendBody = self.scope["extensions"][LEND_BODY]
        async with lend() as lent:
            try:
                yield lent
            finally:
                self._body_ended = lent.rest is not None
                self._body_lost = not (self._body_ended or lent.untouched)
                self._body_started = not lent.untouched
                self.record.received += lent.moved

    async def _receive_piece(self, timeout: float) -> bytes:
        self._body_started = True
        if self._pace is None:
            self._pace = self._minimum.pace()
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                message = await self._receive()
        except TimeoutError:
            raise RegistryError(
                ErrorCode.SIZE_INVALID, message="the body did not arrive in time", http_status=408
            ) from None
        if not self._pace.keeps_up(time.monotonic() - started, len(message.get("body", b""))):
            refused("minimumrate", self.record.client)
            raise RegistryError(
                ErrorCode.SIZE_INVALID, message="the body arrives too slowly", http_status=408
            )
        piece: bytes
        if message["type"] == "http.disconnect":
            piece, more = self.scope["extensions"][REST]()
            if more and not piece:
                raise ClientDisconnectedError
        else:
            piece, more = message.get("body", b""), message.get("more_body", False)
        self._body_ended = not more
        self.record.received += len(piece)
        return piece

    # The answer

    async def respond(
        self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"", *, length: int = -1
    ) -> None:
        """Answer whole. `length` is the Content-Length of an answer to HEAD, whose body is not sent."""
        fields = list(headers)
        if status not in (204, 304):
            size = length if length >= 0 else len(body)
            fields.append((b"content-length", str(size).encode("ascii")))
        closing = not self._body_ended and not await self._drop_small_body()
        if closing:
            fields.append(_CLOSE)
        if self.method == "HEAD":
            body = b""
        await self._start(status, fields)
        if closing:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._linger()
            body = b""
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def stream(self, status: int, headers: HeaderList, pieces: AsyncGenerator[bytes, None]) -> None:
        """Answer with a body that is sent as the client takes it; the Content-Length is among the headers.

        `pieces` is closed when the client goes away or takes nothing for the stall deadline. An error of
        `pieces` passes through. The caller aborts then: a body cut short must not look complete.
        """
        await self._start(status, headers)
        copying = asyncio.ensure_future(self._copy(pieces))
        watching = asyncio.ensure_future(self._wait_for_disconnect())
        try:
            await asyncio.wait((copying, watching), return_when=asyncio.FIRST_COMPLETED)
            if not copying.done():
                raise ClientDisconnectedError
            copying.result()
        finally:
            for task in (copying, watching):
                task.cancel()
            await asyncio.gather(copying, watching, return_exceptions=True)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def can_lend_response(self) -> bool:
        """Whether somebody else can write the answer to the connection."""
        return LEND_RESPONSE in self.scope["extensions"] and self._body_ended

    async def respond_lent(
        self, status: int, headers: HeaderList, length: int, write: Callable[[LentResponse], Awaitable[None]]
    ) -> None:
        """Lend the connection to whoever writes the answer: its head, then `length` bytes.

        What `write` raises passes through. If `response_started` is still false then, the answer can be
        another one.
        """
        fields = [*headers, (b"content-length", b"%d" % length)]
        message = lent_response(status, fields, write)
        try:
            await self._send(message)
        finally:
            self.response_started = message["started"]

    def abort(self) -> None:
        """Reset the connection, when an answer that has begun cannot be completed."""
        self.scope["extensions"][ABORT]()

    async def _start(self, status: int, headers: HeaderList) -> None:
        self.response_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _copy(self, pieces: AsyncGenerator[bytes, None]) -> None:
        pace = self._minimum.pace()
        async with aclosing(pieces):
            async for piece in pieces:
                started = time.monotonic()
                try:
                    async with asyncio.timeout(self._stall):
                        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                except TimeoutError:
                    # Nobody is left to be told.
                    raise ClientDisconnectedError from None
                if not pace.keeps_up(time.monotonic() - started, len(piece)):
                    refused("minimumrate", self.record.client)
                    raise ClientDisconnectedError

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _drop_small_body(self) -> bool:
        """Read and drop what is left of a small body; False when it is not small, or does not come."""
        size = self.content_length
        if (
            self._body_lost
            or size is None
            or size > _DROPPED_BODY
            or (self._expects_continue and not self._body_started)
        ):
            return False
        with suppress(RegistryError):
            while not self._body_ended:
                await self._receive_piece(_LINGER_SECONDS)
        return self._body_ended

    async def _linger(self) -> None:
        """Drop what still comes in for a moment; the client may be writing and not yet reading."""
        if self._expects_continue and not self._body_started:
            return
        dropped = 0
        with suppress(TimeoutError, RegistryError, ClientDisconnectedError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._body_ended and dropped < _LINGER_BYTES:
                    dropped += len(await self._receive_piece(_LINGER_SECONDS))

    @property
    def _expects_continue(self) -> bool:
        return (self.headers.get(b"expect") or "").lower() == "100-continue"
