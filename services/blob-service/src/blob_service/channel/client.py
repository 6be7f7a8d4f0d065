"""A client's connection, as this service has it for a while.

Its socket does not block, and must not be made to: that would hold for the gateway's descriptor too, since
both share one open file description.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import time
from collections.abc import Awaitable, Sequence
from functools import cached_property

from blob_service.drivers.threads import ThreadPool
from blob_service.metrics import SLOW_CLIENTS
from moorage.channel.waiting import readable, writable
from moorage.pace import ANY_RATE, MinimumRate

# Bytes that one call of a thread sends, at most: so that many clients share few threads.
_TURN = 32 << 20

# How long a thread waits for room in the socket, or for bytes, before it goes and lets the event loop wait
# (ms): a client that is as fast as it can be has moved something by then.
_LINGER_MS = 4

# Seconds after which a thread makes place for the next client, however fast this one takes bytes.
TURN_SECONDS = 0.025

# What a socket fails with when its peer is gone; everything else is the file's.
_GONE = {
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
}

# tcp(7); Python's socket module has no name for it.
_TCP_NOTSENT_LOWAT = 25

# Bytes that wait in a socket unsent, at most, before it counts as full. What is sent from a file then stays
# in the processor's cache until the client (or the network card) takes it. With the default, which lets
# megabytes wait, a pull over loopback takes half as long again.
_UNSENT = 512 * 1024


class ClientGoneError(Exception):
    """The client closed its connection, or moves no bytes, or hardly any."""


class TooSlowError(Exception):
    """The client sends, but less than it must."""


class Client:
    """A connection; `stall` is how long it may stand still, in seconds, and `minimum` how slow it may be.

    `read` and `written` count bytes.
    """

    def __init__(self, connection: socket.socket, *, stall: float, minimum: MinimumRate = ANY_RATE) -> None:
        self._socket = connection
        self._stall = stall
        self._reading, self._writing = minimum.pace(), minimum.pace()
        # What was written when the client was last waited for.
        self._written_before = 0
        self.read = 0
        self.written = 0

    async def receive(
        self, places: Sequence[memoryview], *, patience: float | None = None, gather: float = 0.0
    ) -> int:
        """Read into `places`, in their order, what there is, waiting for the first byte.

        What comes within `gather` seconds is read at once; not over a unix socket, which holds so little that
        its sender would wait. Raises TimeoutError after `patience` seconds, by default those of the stall
        deadline, TooSlowError, and ClientGoneError.
        """
        waited = 0.0
        if gather and self._socket.family != socket.AF_UNIX:
            await asyncio.sleep(gather)
            waited = gather
        while True:
            try:
                received = self._read(places)
            except BlockingIOError:
                started = time.monotonic()
                try:
                    async with asyncio.timeout(self._stall if patience is None else patience):
                        await readable(self._socket.fileno())
                except TimeoutError:
                    self._check_reading(waited + time.monotonic() - started, 0)
                    raise
                waited += time.monotonic() - started
            else:
                if waited:
                    self._check_reading(waited, received)
                return _unless_ended(received)

    def receive_now(self, places: Sequence[memoryview]) -> int | None:
        """Read into `places`, in their order, what there is or comes within milliseconds.

        None when nothing comes. Blocks, so that threads call it. Raises ClientGoneError.
        """
        while True:
            try:
                return _unless_ended(self._read(places))
            except BlockingIOError:
                if not self._readable.poll(_LINGER_MS):
                    return None

    @cached_property
    def _readable(self) -> select.poll:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return poll

    def _read(self, places: Sequence[memoryview]) -> int:
        """Read once; 0 at the end. Raises BlockingIOError when there is nothing, and ClientGoneError."""
        try:
            received = self._socket.recvmsg_into(places)[0]
        except BlockingIOError:
            raise
        except OSError as error:
            raise ClientGoneError(str(error)) from error
        self.read += received
        return received

    def _check_reading(self, waited: float, received: int) -> None:
        if not self._reading.keeps_up(waited, received):
            SLOW_CLIENTS.labels("receive").inc()
            raise TooSlowError

    async def send(self, *pieces: bytes | memoryview, more: bool = False) -> None:
        """Write all pieces; `more` says that something follows at once. Raises ClientGoneError."""
        flags = socket.MSG_MORE if more else 0
        waiting = [memoryview(piece) for piece in pieces if len(piece)]
        while waiting:
            try:
                sent = self._socket.sendmsg(waiting, (), flags)
            except BlockingIOError:
                await self._wait(writable(self._socket.fileno()))
                continue
            except OSError as error:
                raise ClientGoneError(str(error)) from error
            self.written += sent
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if sent:
                waiting[0] = waiting[0][sent:]

    async def send_file(self, threads: ThreadPool, descriptor: int, offset: int, length: int) -> None:
        """Write `length` bytes of an open file from `offset`, without their passing through this process.

        A cold file blocks whoever sends it, so threads do; none is kept for a client that takes nothing.
        Raises ClientGoneError, EOFError when the file ends early, and OSError when it cannot be read.
        """
        if self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT)
        end = offset + length
        while offset < end:
            turn = _Turn(self._socket.fileno(), descriptor, offset, end)
            try:
                await threads.run(turn.send)
            finally:
                offset += turn.sent
                self.written += turn.sent
            if turn.blocked:
                await self._wait(writable(self._socket.fileno()))

    async def _wait(self, room: Awaitable[None]) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._stall):
                await room
        except TimeoutError:
            raise ClientGoneError(f"took nothing for {self._stall:g} s") from None
        taken, self._written_before = self.written - self._written_before, self.written
        if not self._writing.keeps_up(time.monotonic() - started, taken):
            SLOW_CLIENTS.labels("send").inc()
            raise ClientGoneError("takes the bytes too slowly")


def _unless_ended(received: int) -> int:
    if received == 0:
        raise ClientGoneError("the client closed its connection in mid-body")
    return received


class _Turn:
    """What one call of a thread sends: a part of a file, until the socket takes no more."""

    def __init__(self, client: int, file: int, offset: int, end: int) -> None:
        self._client = client
        self._file = file
        self._offset = offset
        self._end = min(end, offset + _TURN)
        self.sent = 0
        self.blocked = False

    def send(self) -> None:
        """Send; runs in a thread."""
        room = select.poll()
        room.register(self._client, select.POLLOUT)
        until = time.monotonic() + TURN_SECONDS
        while (position := self._offset + self.sent) < self._end:
            try:
                sent = os.sendfile(self._client, self._file, position, self._end - position)
            except BlockingIOError:
                self.blocked = not room.poll(_LINGER_MS)
                if self.blocked or time.monotonic() > until:
                    return
                continue
            except OSError as error:
                if error.errno in _GONE:
                    raise ClientGoneError(str(error)) from error
                raise
            if sent == 0:
                raise EOFError("the file ends early")
            self.sent += sent
