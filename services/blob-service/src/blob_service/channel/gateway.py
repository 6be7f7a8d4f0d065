"""A gateway's connection to the data socket or the data port."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from moorage.channel import MAX_MESSAGE, FrameBuffer, FrameError, pack_frame
from moorage.channel.waiting import readable
from moorage.v1 import blob_pb2

# Descriptors that one message may carry; a gateway sends one with each loan.
_DESCRIPTORS = 4

# Bytes read at once: of a loan, and of what is not known to be one, on a port that anybody may find.
_READ = 256 * 1024
_FIRST_READ = 4096

# The most bytes of a loan that holds a ticket.
_TICKET_LOAN = 1024

# Seconds for which a gateway may take nothing of an event, or send nothing more of a tail.
_STALL = 60.0


class GatewayGoneError(Exception):
    """The gateway ended the connection."""


class ProtocolError(GatewayGoneError):
    """The gateway sent what this protocol does not have: the connection is of no use any more."""


@dataclass(slots=True)
class Received:
    """A loan as it came in, with the client's socket if it is lent; whoever has this closes that."""

    loan: blob_pb2.Loan
    client: socket.socket | None


class Gateway:
    """One connection. On a data socket (`local`) loans come with a client's socket, else with a ticket."""

    def __init__(self, connection: socket.socket, *, local: bool) -> None:
        self._socket = connection
        self._local = local
        self._frames = FrameBuffer(max_message=MAX_MESSAGE if self._local else _TICKET_LOAN)
        self._sending = asyncio.Lock()

    @property
    def is_local(self) -> bool:
        """Whether it is a data socket's, and clients' sockets come with the loans."""
        return self._local

    @property
    def socket(self) -> socket.socket:
        """The connection itself."""
        return self._socket

    async def wait(self) -> None:
        """Return when there is something to read, or the gateway has ended the connection."""
        await readable(self._socket.fileno())

    async def next_loan(self) -> Received | None:
        """Read a loan, without its tail; None when the gateway has ended the connection instead.

        Raises GatewayGoneError and ProtocolError; every descriptor that came in is closed then.
        """
        descriptors: list[int] = []
        try:
            while (message := self._frames.next_message()) is None:
                data = await self._read(descriptors, _READ if self._local else _FIRST_READ)
                if not data:
                    if len(self._frames):
                        raise GatewayGoneError("the connection ended within a frame")
                    return None
                self._frames.feed(data)
            loan = blob_pb2.Loan.FromString(message)
            self._check(loan, len(descriptors))
            return Received(loan, _client(descriptors) if descriptors else None)
        except (FrameError, DecodeError) as error:
            raise ProtocolError(str(error)) from error
        except OSError as error:
            raise GatewayGoneError(str(error)) from error
        finally:
            _close(descriptors)

    async def tail(self) -> bytes:
        """The tail of the loan that was read last, and nothing behind it. Raises GatewayGoneError."""
        descriptors: list[int] = []
        try:
            while (frame := self._frames.next_frame()) is None:
                async with asyncio.timeout(_STALL):
                    data = await self._read(descriptors, _READ)
                if descriptors:
                    raise ProtocolError("a tail came with sockets")
                if not data:
                    raise GatewayGoneError("the connection ended within a frame")
                self._frames.feed(data)
        except OSError as error:  # TimeoutError is one
            raise GatewayGoneError(str(error) or "the rest of a loan did not come in time") from error
        finally:
            _close(descriptors)
        return frame.tail

    async def send(self, event: blob_pb2.LoanEvent, tail: bytes = b"") -> None:
        """Send an event; raises GatewayGoneError."""
        frame = pack_frame(event, tail)
        async with self._sending:
            try:
                async with asyncio.timeout(_STALL):
                    await asyncio.get_running_loop().sock_sendall(self._socket, frame)
            except OSError as error:  # TimeoutError is one
                raise GatewayGoneError(str(error) or "the gateway takes no events") from error

    async def read_to_end(self, limit: int, *, seconds: float) -> bytes:
        """What still comes in until the gateway ends its side.

        Raises GatewayGoneError for more than `limit` bytes, or when that takes longer than `seconds`.
        """
        rest = bytearray()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                while data := await loop.sock_recv(self._socket, _READ):
                    rest += data
                    if len(rest) > limit:
                        raise ProtocolError("too much came in behind a body")
        except OSError as error:  # TimeoutError is one
            raise GatewayGoneError(str(error) or "the gateway does not end its side") from error
        return bytes(rest)

    async def linger(self, seconds: float) -> None:
        """Drop what still comes in for a while: closing at once could destroy the last event."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # TimeoutError is one
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(seconds):
                while await loop.sock_recv(self._socket, _READ):
                    pass

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _check(self, loan: blob_pb2.Loan, descriptors: int) -> None:
        work = loan.WhichOneof("work")
        if work is None or self._local is (work == "ticket"):
            raise ProtocolError(f"a loan of work {work!r} on this kind of connection")
        if descriptors != (1 if self._local else 0):
            raise ProtocolError(f"a loan came with {descriptors} sockets")

    async def _read(self, descriptors: list[int], most: int) -> bytes:
        """Read some of what the frame still lacks, and nothing of what follows it."""
        size = min(self._frames.missing(), most)
        while True:
            try:
                if not self._local:
                    return self._socket.recv(size)
                data, received, flags, _ = socket.recv_fds(
                    self._socket, size, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await readable(self._socket.fileno())
                continue
            descriptors += received
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError("a message came with too many sockets")
            return data


def _client(descriptors: list[int]) -> socket.socket:
    """The client's socket, taken from the list; raises OSError for what is none, and ProtocolError."""
    if os.get_blocking(descriptors[0]):
        # Every call on it would hold up this process. To change it would change it for the gateway as well.
        raise ProtocolError("a client's socket blocks")
    client = socket.socket(fileno=descriptors[0])
    del descriptors[0]
    return client


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
