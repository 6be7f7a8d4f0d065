"""A gateway's connection to the data socket or the data port."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass

from moorage.channel import FrameBuffer, FrameError, pack_frame
from moorage.channel.waiting import readable
from moorage.v1 import blob_pb2

# Descriptors that one message may carry; a gateway sends one with each loan.
_DESCRIPTORS = 4

_READ = 256 * 1024


class GatewayGoneError(Exception):
    """The gateway ended the connection, or sent what this protocol does not have."""


@dataclass(slots=True)
class Received:
    """A loan as it came in, with the client's socket if it is lent; whoever has this closes that."""

    loan: blob_pb2.Loan
    tail: bytes
    client: socket.socket | None


class Gateway:
    """One connection. On a data socket loans come with a client's socket, on a data port with a ticket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._local = connection.family == socket.AF_UNIX
        self._frames = FrameBuffer()
        self._sending = asyncio.Lock()

    @property
    def is_local(self) -> bool:
        """Whether it is a data socket's, and clients' sockets can come with the loans."""
        return self._local

    @property
    def socket(self) -> socket.socket:
        """The connection itself."""
        return self._socket

    async def next_loan(self) -> Received | None:
        """Wait for a loan; None when the gateway has ended the connection instead.

        Reads nothing behind it. Raises GatewayGoneError.
        """
        descriptors: list[int] = []
        try:
            while (frame := self._frames.next_frame()) is None:
                data = await self._read(descriptors)
                if not data:
                    if len(self._frames):
                        raise GatewayGoneError("the connection ended within a frame")
                    return None
                self._frames.feed(data)
            loan = blob_pb2.Loan.FromString(frame.message)
            expected = 0 if loan.WhichOneof("work") == "ticket" else 1
            if self._local is not bool(expected) or len(descriptors) != expected:
                raise GatewayGoneError(f"a loan came with {len(descriptors)} sockets")
            client = socket.socket(fileno=descriptors.pop()) if descriptors else None
            return Received(loan, frame.tail, client)
        except (OSError, FrameError, ValueError) as error:
            raise GatewayGoneError(str(error) or repr(error)) from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def _read(self, descriptors: list[int]) -> bytes:
        size = min(self._frames.missing(), _READ)
        while True:
            try:
                if not self._local:
                    return self._socket.recv(size)
                data, received, flags, _ = socket.recv_fds(self._socket, size, _DESCRIPTORS)
            except BlockingIOError:
                await readable(self._socket.fileno())
                continue
            descriptors += received
            if flags & socket.MSG_CTRUNC:
                raise GatewayGoneError("a message came with too many sockets")
            return data

    async def send(self, event: blob_pb2.LoanEvent, tail: bytes = b"") -> None:
        """Send an event; raises GatewayGoneError."""
        async with self._sending:
            try:
                await asyncio.get_running_loop().sock_sendall(self._socket, pack_frame(event, tail))
            except OSError as error:
                raise GatewayGoneError(str(error)) from error

    async def wait_until_gone(self) -> None:
        """Return when the gateway has ended the connection, or sends something while a loan is under way."""
        await readable(self._socket.fileno())

    async def read_to_end(self, limit: int) -> bytes:
        """What still comes in until the gateway ends its side; raises GatewayGoneError over `limit` bytes."""
        rest = bytearray()
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._socket, _READ):
                rest += data
                if len(rest) > limit:
                    raise GatewayGoneError("too much came in behind a body")
        except OSError as error:
            raise GatewayGoneError(str(error)) from error
        return bytes(rest)

    async def linger(self, seconds: float) -> None:
        """Drop what still comes in for a while: closing at once could destroy the last event."""
        self._socket.shutdown(socket.SHUT_WR)
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # a timeout is one
            async with asyncio.timeout(seconds):
                while await loop.sock_recv(self._socket, _READ):
                    pass

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
