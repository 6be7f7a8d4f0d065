"""Which connections are taken: `http.limits.connections` and `http.limits.clientconnections`."""

from __future__ import annotations

import contextlib
import socket

from api_gateway.forwarded import Trust
from api_gateway.limitmemory import LimitMemory, client_of
from api_gateway.limits import refused
from api_gateway.refusal import envelope_headers
from moorage.config.limits import Limits
from moorage.errors import ErrorCode, RegistryError


class Admission:
    """Takes connections as long as there are not too many, in all workers together.

    The peers of `http.trustedproxies` bring the connections of many clients: they count among all, and have
    no limit of their own.
    """

    def __init__(self, limits: Limits, memory: LimitMemory, trusts: Trust) -> None:
        self._limits = limits
        self._memory = memory
        self._trusts = trusts

    def enter(self, connection: socket.socket, address: object) -> str | None:
        """Count a connection in. Gives what `leave` needs; None when it was refused, and is closed.

        `address` is what `accept` gave.
        """
        limits = self._limits
        peer = str(address[0]) if isinstance(address, tuple) else ""
        client = ""
        if limits.connections and self._memory.connections >= limits.connections:
            refused("connections", peer)
            _turn_away(connection, _TOO_MANY)
            return None
        if limits.clientconnections and peer and not self._trusts(peer):
            client = client_of(peer)
            if client and self._memory.connections_of(client) >= limits.clientconnections:
                refused("clientconnections", peer)
                _turn_away(connection, _TOO_MANY_OF_ONE)
                return None
        self._memory.count(client, 1)
        return client

    def leave(self, client: str) -> None:
        """Count a connection out."""
        self._memory.count(client, -1)


def _answer(error: RegistryError, status: bytes, retry_after: bytes) -> bytes:
    body = error.envelope()
    fields = [
        *(pair for pair in envelope_headers(error) if pair[0] != b"retry-after"),
        (b"retry-after", retry_after),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"connection", b"close"),
    ]
    lines = b"".join(b"%b: %b\r\n" % pair for pair in fields)
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, lines, body)


_TOO_MANY = _answer(
    RegistryError(ErrorCode.UNAVAILABLE, "too many connections"), b"503 Service Unavailable", b"5"
)
_TOO_MANY_OF_ONE = _answer(
    RegistryError(ErrorCode.TOOMANYREQUESTS, "too many connections from this address"),
    b"429 Too Many Requests",
    b"5",
)


def _turn_away(connection: socket.socket, answer: bytes) -> None:
    """Say why, if that costs nothing, and close.

    Over TLS the client sees no more than the end: a handshake is what there is no room for.
    """
    with contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(answer)
        connection.shutdown(socket.SHUT_WR)
        # What is left unread would make the end a reset, which may overtake the answer.
        connection.recv(65536)
    connection.close()
