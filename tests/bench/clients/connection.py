"""HTTP/1.1 over a blocking socket, for bodies that the client need not look at."""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from bench.clients.work import WrongAnswerError

_LARGEST_HEAD = 64 << 10
# As much as one call may discard.
_DISCARD = 4 << 20


@dataclass(frozen=True)
class Answer:
    """Status and headers (names in lower case) of an answer, and its body unless it was discarded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """The status and the headers, names in lower case, of an answer's head."""
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(status_line.split(" ", 2)[1]), headers


class Connection:
    """A connection that is kept from request to request."""

    def __init__(self, address: tuple[str, int], *, timeout: int = 300) -> None:
        self._host = f"{address[0]}:{address[1]}"
        self._socket = socket.create_connection(address)
        # The kernel's own deadline: with Python's, the socket would not block, which sendfile needs it to.
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", timeout, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Nothing is ever written to it, so it takes no memory.
        self._void = mmap.mmap(-1, _DISCARD)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._void.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        expect: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        send_body: Callable[[socket.socket], None] | None = None,
    ) -> Answer:
        """Send a request and read the answer, body included; raises WrongAnswerError when it is not `expect`.

        `send_body` sends a body in chunks, in the place of `body`.
        """
        framing = {"Transfer-Encoding": "chunked"} if send_body else {}
        if not send_body and method in ("POST", "PUT", "PATCH"):
            framing = {"Content-Length": str(len(body))}
        self._send_head(method, path, {**(headers or {}), **framing}, body)
        if send_body:
            send_body(self._socket)
        status, answered, rest = self._read_head()
        # A HEAD's answer has the length of the body that it leaves out (RFC 9110, section 9.3.2).
        length = 0 if method == "HEAD" else _length(answered)
        while len(rest) < length:
            rest += self._received(length - len(rest))
        if status != expect:
            raise WrongAnswerError(f"{method} {path}: {status}, not {expect}: {rest[:500]!r}")
        return Answer(status, answered, rest)

    def get_and_discard(self, path: str, length: int) -> None:
        """GET a body of `length` bytes that the kernel throws away.

        Raises WrongAnswerError when it is no 200 or of another length.
        """
        self._send_head("GET", path, {})
        status, headers, start = self._read_head()
        if status != 200 or _length(headers) != length:
            raise WrongAnswerError(
                f"GET {path}: {status}, {headers.get('content-length')} bytes, not {length}"
            )
        left = length - len(start)
        while left > 0:
            # MSG_TRUNC on TCP: the bytes are taken from the queue and not copied (tcp(7)).
            count = self._socket.recv_into(self._void, min(left, _DISCARD), socket.MSG_TRUNC)
            if not count:
                raise WrongAnswerError(f"GET {path}: the body ends {left} bytes early")
            left -= count

    def _send_head(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def _read_head(self) -> tuple[int, dict[str, str], bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            if len(received) > _LARGEST_HEAD:
                raise WrongAnswerError(f"a head of more than {_LARGEST_HEAD} bytes")
            received += self._received(4096)
        head, _, rest = received.partition(b"\r\n\r\n")
        return *parse_head(head), rest

    def _received(self, most: int) -> bytes:
        received = self._socket.recv(most)
        if not received:
            raise WrongAnswerError("the registry closed the connection in mid-answer")
        return received


def _length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise WrongAnswerError("an answer without a length")
    return int(headers.get("content-length", 0))
