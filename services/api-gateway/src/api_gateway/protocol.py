"""The HTTP/1.1 protocol of a connection: uvicorn's, with limits on a request's head, and with loans.

uvicorn takes heads of any size for any time; a registry on the open network cannot. What is not HTTP is
answered with the error envelope, as everything else is.

A request's body is not parsed before somebody asks for it. Until then what was read of it is held as it came
off the wire, and nothing more is read: so the connection can be lent to whoever reads the body itself
(`connection.py`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api_gateway.connection import ABORT, LEND_BODY, LEND_RESPONSE, REST, LentBody
from api_gateway.cycle import Cycle
from api_gateway.limits import refused
from api_gateway.middleware import API_VERSION
from api_gateway.refusal import last_answer
from api_gateway.tls import undelivered
from moorage.config.limits import Limits
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger("api_gateway.protocol")

_HEAD_END = b"\r\n\r\n"

# struct linger: on, for no time. Closing resets then.
_NO_LINGER = struct.pack("ii", 1, 0)


# uvicorn warns of each offer to upgrade (curl makes them) and of each client that tries TLS first (docker
# does, on a registry without it). Neither is news to an operator.
_SERVER_LOGGER = logging.getLogger("api_gateway.protocol")
_SERVER_LOGGER.setLevel(logging.ERROR)


class GatewayProtocol(HttpToolsProtocol):
    """One client's connection. `guest` is what the acceptor has counted it as."""

    cycle: Cycle
    guest: str = ""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SERVER_LOGGER
        self._limits = limits
        self._connected = True
        self._announces_body = False
        self._reading_head = True
        self._head_bytes = 0
        # The last bytes of the head so far: its end may come in pieces.
        self._head_tail = b""
        self._head_timer: asyncio.TimerHandle | None = None
        # The request whose body nobody has asked for yet, and what was read of it.
        self._holding: Cycle | None = None
        self._held = bytearray()
        # What was read behind a request that waits for its turn: no further one is looked at meanwhile.
        self._behind = bytearray()
        # Nobody knows where in a body the connection is: what comes in is dropped.
        self._lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection."""
        super().connection_made(transport)
        # TLS ends here: nobody else can speak for it.
        self._lendable = transport.get_extra_info("ssl_object") is None
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._connected = False
        self._stop_head_timer()
        if not self._lendable:
            self._take_unread()
        super().connection_lost(exc)

    def _take_unread(self) -> None:
        """Take what the client sent of a body before it left, and nobody will read any more.

        While reading is paused the kernel keeps the bytes of a connection together with its end. TLS reads on
        for a while: its end may have come while bytes were held here, or were not yet decrypted.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body or self._lost:
            return
        if self._holding is not None:
            self._open_body(self._holding)
        unread = undelivered(self.transport.get_extra_info("ssl_object"))
        if unread:
            self.data_received(unread)
        # Another request may have come behind the body: it is the one that uvicorn tells.
        cycle.disconnected = True
        cycle.message_event.set()

    # What comes in

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._unset_keepalive_if_required()
        while data:
            if self._lost or self.parser is None:
                return
            if self._holding is not None:
                self._held += data
                self.flow.pause_reading()
                return
            if self._reading_head:
                if self.pipeline:
                    self._behind += data
                    self.flow.pause_reading()
                    return
                data = self._feed_head(data)
            else:
                data = self._feed(data)

    def _feed_head(self, data: bytes) -> bytes:
        """Parse a head, or a part of one, and nothing behind it; what is behind it."""
        if self._head_timer is None:
            # Also for the empty lines that may come before a request.
            self._start_head_timer()
        tail = self._head_tail
        end = (tail + data).find(_HEAD_END) if tail else data.find(_HEAD_END)
        if end >= 0:
            end += len(_HEAD_END) - len(tail)
            head, rest = data[:end], data[end:]
            self._head_tail = b""
        else:
            head, rest = data, b""
            self._head_tail = (tail + data)[1 - len(_HEAD_END) :]
        self._head_bytes += len(head)
        self._feed(head)
        if self._head_bytes > self._limits.headersize and not self._lost:
            self._refuse_head(431, "headersize", "the request's head is too large")
            return b""
        return rest

    def _feed(self, data: bytes | bytearray) -> bytes:
        super().data_received(data)  # type: ignore[arg-type]  # httptools takes both
        return b""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._announces_body = False
        self._reading_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a request's head."""
        name = name.lower()
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            self._announces_body = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """A request's head is complete: its answer can begin."""
        self._reading_head = False
        self._stop_head_timer()
        limits = self._limits
        if len(self.headers) > limits.headercount:
            self._refuse_head(431, "headercount", "the request's head has too many fields")
            return
        if self._head_bytes > limits.headersize:
            # It came in one piece.
            self._refuse_head(431, "headersize", "the request's head is too large")
            return
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""

        previous = self.cycle
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            # An offer to upgrade is not taken up, but the parser stops at what it takes for another protocol.
            keep_alive=version != "1.0" and parser.should_keep_alive() and not parser.should_upgrade(),
            on_response=self.on_response_complete,
            body_wanted=self._open_body,
        )
        extensions: dict[str, Any] = {ABORT: partial(self._abort, cycle), REST: partial(_take_rest, cycle)}
        # uvicorn's type knows the extensions of the specification only.
        scope["extensions"] = extensions
        if self._lendable:
            extensions[LEND_RESPONSE] = True
        if self._announces_body:
            self._holding = cycle
            self.flow.pause_reading()
            if self._lendable:
                extensions[LEND_BODY] = partial(self._lend_body, cycle)
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            # A pipelined request waits for its turn.
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if self._lost:
            return
        self._parse_on()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete; what comes next is another one's head."""
        if self._lost:
            return
        self._parse_on()
        super().on_message_complete()
        self._expect_head()

    def on_response_complete(self) -> None:
        """A request is answered: the next one can come."""
        if self._holding is not None and self._holding.response_complete:
            self._open_body(self._holding)
        super().on_response_complete()
        if self._behind and not self.pipeline:
            behind, self._behind = bytes(self._behind), bytearray()
            self.data_received(behind)

    # The body

    def _parse_on(self) -> None:
        """Take part in a body that came in one piece with the end of the body before it, parsed already."""
        if self._holding is not None:
            self._holding.scope["extensions"].pop(LEND_BODY, None)
            self._holding = None

    def _open_body(self, cycle: Cycle) -> None:
        """Parse the body of this request from now on: somebody asks for it, or nobody ever will."""
        if self._holding is not cycle:
            return
        self._holding = None
        held, self._held = self._held, bytearray()
        self.flow.resume_reading()
        if held:
            self.data_received(bytes(held))

    @asynccontextmanager
    async def _lend_body(self, cycle: Cycle) -> AsyncIterator[LentBody]:
        """See `connection.LEND_BODY`."""
        if self._holding is not cycle:
            raise RuntimeError("a body can be lent only before it is read")
        try:
            async with cycle.lend_body(lambda: bytes(self._held)) as lent:
                yield lent
        finally:
            if not lent.untouched:
                self._holding = None
                self._held = bytearray()
                self._take_back(cycle, lent.rest)

    def _expect_head(self) -> None:
        self._reading_head = True
        self._head_bytes = 0
        self._head_tail = b""

    def _take_back(self, cycle: Cycle, rest: bytes | None) -> None:
        if rest is None:
            self._lost = True
            cycle.keep_alive = False
        elif self._connected:
            cycle.more_body = False
            # The old parser waits for a body that it will never see.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self._expect_head()
        self.flow.resume_reading()
        if rest:
            self.data_received(rest)

    # How a connection ends

    def _abort(self, cycle: Cycle) -> None:
        """Reset the connection: what waits to be sent is dropped, where closing would wait for the client."""
        if not self._connected:
            return
        cycle.disconnected = True
        if self._lost and not cycle.response_started:
            # The client ended the connection in mid-body, and has nothing coming.
            self.transport.close()
            return
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg)

    def _refuse_head(self, status: int, limit: str, message: str) -> None:
        """Answer a head that is beyond a limit; nothing more is read."""
        refused(limit, self.client[0] if self.client else "")
        self._lost = True
        self._refuse(status, message)

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or not cycle.more_body:
                # It came behind a request whose answer is under way, and must not be taken for a part of it.
                self._abort(cycle)
                return
            # The request's own body is malformed: this is its answer, and the application's is dropped.
            cycle.disconnected = True
            cycle.message_event.set()
        log.debug("connection refused", reason=message, remoteaddr=self.client[0] if self.client else "")
        error = RegistryError(ErrorCode.UNSUPPORTED, message=message, http_status=status)
        self.transport.write(last_answer(error, [*self.server_state.default_headers, API_VERSION]))
        self.transport.close()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.headtimeout, self._give_up_head)

    def _give_up_head(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse_head(408, "headtimeout", "the request's head did not come in time")
        else:
            # Nothing was asked, so nothing is answered.
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _take_rest(cycle: Cycle) -> tuple[bytes, bool]:
    """What uvicorn has read of a body and not handed out, and whether more of it was to come."""
    rest = bytes(cycle.body)
    cycle.body.clear()
    return rest, cycle.more_body
