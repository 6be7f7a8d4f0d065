"""Takes connections from a listening socket that other processes may take from as well.

libuv accepts until the queue is empty: of several processes on one socket, one would take a whole burst. Here
the event loop is asked anew after each connection, and who has more connections than another process leaves
it a moment to take the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

import structlog
from prometheus_client import Counter

from api_gateway.admission import Admission, TurnedAwayError
from api_gateway.loads import ONLY_LOAD, Load
from api_gateway.loopback import unpace
from api_gateway.protocol import GatewayProtocol
from api_gateway.tls import LAST_WORDS, PLAIN_HTTP, ListenerTLS

log = structlog.get_logger("api_gateway.acceptor")

# Seconds that a process with fewer connections has for the next one: it may be in the middle of requests.
_HEAD_START = 0.002

# Seconds without accepting when there is no room for another connection: those that end make it.
_PAUSE = 0.2

# Seconds that a TLS handshake may take, and the end of a TLS connection.
_HANDSHAKE_SECONDS = 10.0
_TLS_SHUTDOWN_SECONDS = 5.0

# OpenSSL's word for an HTTP request where a handshake should be.
_IS_HTTP = "HTTP_REQUEST"

_FAILED_HANDSHAKES = Counter(
    "registry_tls_handshakes_failed", "Connections that did not get through the TLS handshake."
)

# No descriptor or no memory is left, in this process or on this machine.
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts on `listener`, which must not block, from `start` to `close`; the caller closes the socket.

    `new_protocol` makes the protocol of each connection, and `load` has other processes' connections beside
    this one's, which it counts in, as `admission` does where there is one; whoever sees a connection end
    counts it out. With `tls` a connection begins with a handshake, which holds up nothing else. It has what
    uvicorn wants of an `asyncio.Server`.
    """

    def __init__(
        self,
        listener: socket.socket,
        new_protocol: Callable[[], GatewayProtocol],
        load: Load = ONLY_LOAD,
        *,
        admission: Admission | None = None,
        tls: ListenerTLS | None = None,
    ) -> None:
        self._listener = listener
        self._load = load
        self._admission = admission
        self._tls = tls
        self._new_protocol = new_protocol
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._resuming: asyncio.TimerHandle | None = None
        self._full = False
        self._open = False

    def start(self) -> None:
        """Accept from now on."""
        self._open = True
        self._loop.add_reader(self._listener, self._look)

    def close(self) -> None:
        """Accept nothing more."""
        if not self._open:
            return
        self._open = False
        if self._resuming is not None:
            self._resuming.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait until what was accepted has its protocol."""
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def _look(self) -> None:
        """Take one connection, or leave it to others: this is called again when there are more."""
        if self._load.is_lowest:
            self._accept()
        else:
            self._pause(_HEAD_START, self._accept_what_was_left)

    def _accept_what_was_left(self) -> None:
        self.start()
        self._accept()

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except BlockingIOError:
            # Another process was faster.
            return
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._wait_for_room(error)
            else:
                # accept(2) also reports what happened to the connection in the queue.
                log.debug("a connection ended before it was accepted", error=str(error))
            return
        if self._full:
            self._full = False
            log.warning("connections are accepted again")
        connection.setblocking(False)
        unpace(connection, address)
        guest = ""
        if self._admission is not None:
            try:
                guest = self._admission.enter(address)
            except TurnedAwayError as refusal:
                # Over TLS nothing can be said: a handshake is what there is no room for.
                _say_and_end(connection, refusal.answer if self._tls is None else b"")
                connection.close()
                return
        self._load.opened()
        connect = self._connect if self._tls is None else self._connect_tls
        task = self._loop.create_task(connect(connection, guest))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _wait_for_room(self, error: OSError) -> None:
        if not self._full:
            self._full = True
            log.error("no connection can be accepted for now", error=error.strerror)
        self._pause(_PAUSE, self.start)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._resuming = self._loop.call_later(seconds, then)

    async def _connect(self, connection: socket.socket, guest: str) -> None:
        try:
            transport, _ = await self._loop.connect_accepted_socket(self._protocol_of(guest), connection)
        except OSError as error:
            self._forget(connection, guest, error)
            return
        if not self._open:
            # It came after those that are idle had been closed.
            transport.close()

    async def _connect_tls(self, connection: socket.socket, guest: str) -> None:
        assert self._tls is not None  # noqa: S101  who calls this looked
        # For what can still be said when the handshake has failed and the transport is gone.
        try:
            again = connection.dup()
        except OSError as error:
            self._forget(connection, guest, error)
            return
        # This task's own.
        last_words = bytearray()
        LAST_WORDS.set(last_words)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                self._protocol_of(guest),
                connection,
                ssl=self._tls.context,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
            )
        except OSError as error:
            _FAILED_HANDSHAKES.inc()
            is_http = isinstance(error, ssl.SSLError) and error.reason == _IS_HTTP
            _say_and_end(again, PLAIN_HTTP if is_http else bytes(last_words))
            self._forget(connection, guest, error)
            return
        finally:
            again.close()
        if not self._open:
            transport.close()

    def _protocol_of(self, guest: str) -> Callable[[], asyncio.Protocol]:
        def make() -> asyncio.Protocol:
            protocol = self._new_protocol()
            protocol.guest = guest
            return protocol

        return make

    def _forget(self, connection: socket.socket, guest: str, error: OSError) -> None:
        connection.close()
        self._load.closed()
        if self._admission is not None:
            self._admission.leave(guest)
        log.debug("a connection ended as it was accepted", error=str(error))


def _say_and_end(connection: socket.socket, last_words: bytes) -> None:
    """Send what fits, and end this side; no more is read than is there."""
    if not last_words:
        return
    with contextlib.suppress(OSError):
        connection.send(last_words)
        connection.shutdown(socket.SHUT_WR)
        # What is left unread would make the end a reset, which may overtake the last words.
        connection.recv(65536)
