"""The HTTP/1.1 protocol of a connection: uvicorn's, with limits on a request's head.

uvicorn takes heads of any size for any time; a registry on the open network cannot. What is not HTTP is
answered with the error envelope, as everything else is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from functools import partial
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api_gateway.headers import HeaderList
from api_gateway.middleware import API_VERSION
from api_gateway.refusal import envelope_headers
from api_gateway.request import ABORT, REST
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger("api_gateway.protocol")

# Bytes of a head, at most; Go's default.
_HEAD_BYTES = 1 << 20

# Seconds that a head may take from its first byte, and a new connection until its first byte.
_HEAD_SECONDS = 60.0

# struct linger: on, for no time. Closing resets then.
_NO_LINGER = struct.pack("ii", 1, 0)


# uvicorn warns of each offer to upgrade (curl makes them) and of each client that tries TLS first (docker
# does, on a registry without it). Neither is news to an operator.
_SERVER_LOGGER = logging.getLogger("api_gateway.protocol")
_SERVER_LOGGER.setLevel(logging.ERROR)


class GatewayProtocol(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SERVER_LOGGER
        self._connected = True
        self._reading_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._connected = False
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        super().data_received(data)
        if not self._reading_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > _HEAD_BYTES:
            self._refuse(431, "the request's head is too large")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._reading_head = True
        self._head_bytes = 0
        self._start_head_timer()

    def on_headers_complete(self) -> None:
        """A request's head is complete: its answer can begin."""
        self._reading_head = False
        self._stop_head_timer()
        super().on_headers_complete()
        # The application has not begun yet. uvicorn's type knows the extensions of the specification only.
        extensions: Any = {ABORT: partial(self._abort, self.cycle), REST: partial(_take_rest, self.cycle)}
        self.scope["extensions"] = extensions
        if self.parser.should_upgrade():
            # The offer is not taken up, but the parser stops at what it takes for another protocol.
            self.cycle.keep_alive = False

    def _abort(self, cycle: RequestResponseCycle) -> None:
        """Reset the connection: what waits to be sent is dropped, where closing would wait for the client."""
        if not self._connected:
            return
        cycle.disconnected = True
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg)

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
        body = error.envelope()
        fields: HeaderList = [
            *self.server_state.default_headers,
            API_VERSION,
            *envelope_headers(error),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"connection", b"close"),
        ]
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % pair for pair in fields), b"\r\n", body]
        self.transport.write(b"".join(lines))
        self.transport.close()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _take_rest(cycle: RequestResponseCycle) -> tuple[bytes, bool]:
    """What uvicorn has read of a body and not handed out, and whether more of it was to come."""
    rest = bytes(cycle.body)
    cycle.body.clear()
    return rest, cycle.more_body
