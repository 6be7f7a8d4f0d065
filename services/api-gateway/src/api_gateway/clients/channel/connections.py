"""A connection to the blob service's data socket or data port."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

from api_gateway.clients.channel.interface import ChannelUnavailableError
from moorage import context
from moorage.channel import FrameBuffer, FrameError, Tunnels, connect, dial, pack_frame, set_up_tcp
from moorage.rpc import Security
from moorage.rpc.security import identity
from moorage.v1 import blob_pb2

# What is read at once, at most, when frames may follow each other.
_READ = 256 * 1024

# Milliseconds that the service may leave what was sent unacknowledged.
_USER_TIMEOUT = 60_000


class ChannelBrokenError(Exception):
    """The other side ended the connection, sent what is no event, or nothing for too long."""


class ChannelConnection:
    """A connection that carries one loan at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._frames = FrameBuffer()

    @classmethod
    async def open_unix(cls, path: Path) -> ChannelConnection:
        """Connect to a data socket; raises OSError."""
        return await cls._open(socket.AF_UNIX, str(path))

    @classmethod
    async def open_tcp(cls, host: str, port: int) -> ChannelConnection:
        """Connect to a data port; raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        connection = await cls._open(family, address)
        set_up_tcp(connection._socket)
        connection._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)
        return connection

    @classmethod
    async def open_tls(
        cls, host: str, port: int, security: Security, tunnels: Tunnels, *, seconds: float
    ) -> ChannelConnection:
        """Connect to a data port over mutual TLS, within `seconds` from the connection on; raises OSError."""
        plain = await cls.open_tcp(host, port)
        tunnel = await dial(plain._socket, security.client_context, identity("blob"), seconds=seconds)
        return cls(tunnels.near_end(tunnel))

    @classmethod
    async def _open(cls, family: int, address: object) -> ChannelConnection:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    @property
    def descriptor(self) -> int:
        """The connection's own."""
        return self._socket.fileno()

    async def lend(self, loan: blob_pb2.Loan, tail: bytes = b"", *, descriptor: int | None = None) -> None:
        """Send a loan, with a client's socket if there is one.

        Raises ChannelUnavailableError: a loan that did not come in whole is never worked on.
        """
        loan.request_id = context.request_id.get()
        if context.has_more_than_an_id():
            loan.traceparent = context.outgoing().get("traceparent", "")
        frame = pack_frame(loan, tail)
        sent = 0
        try:
            if descriptor is not None:
                # The connection carries nothing else at the moment: its buffer takes at least a part.
                sent = socket.send_fds(self._socket, [frame], [descriptor])
            await asyncio.get_running_loop().sock_sendall(self._socket, memoryview(frame)[sent:])
        except OSError as error:
            raise ChannelUnavailableError from error

    async def event(self, *, timeout: float | None, exact: bool = False) -> tuple[blob_pb2.LoanEvent, bytes]:
        """The next event and its tail. Raises ChannelBrokenError, after `timeout` seconds of silence too.

        With `exact`, nothing is read that follows the event.
        """
        loop = asyncio.get_running_loop()
        try:
            while (frame := self._frames.next_frame()) is None:
                size = self._frames.missing() if exact else _READ
                async with asyncio.timeout(timeout):
                    data = await loop.sock_recv(self._socket, size)
                if not data:
                    raise ChannelBrokenError("the blob service closed the connection")
                self._frames.feed(data)
            return blob_pb2.LoanEvent.FromString(frame.message), frame.tail
        except (OSError, FrameError, ValueError) as error:
            raise ChannelBrokenError(str(error) or repr(error)) from error

    def end_sending(self) -> None:
        """Tell the other side that nothing more comes."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close it: the loan that it carries ends."""
        self._socket.close()
