"""The workers that run, as their parent knows them: by the connection that each has made.

Every worker inherits one end of a socket. When it is ready it sends its process id there, with one end of a
connection of its own, over which the parent asks for its metrics (`worker.py` is the other side).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from moorage.workers.metrics import Snapshot, Totals, decoded
from moorage.workers.worker import ASK, HEADER

log = structlog.get_logger("moorage.workers")

# Seconds that a worker may take to answer; then what it said last counts.
_PATIENCE = 2.0

# A message holds a process id.
_MESSAGE_BYTES = 32


class Roster:
    """Which workers are ready, and what they count together."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self._ours = ours
        self._theirs = theirs
        self._members: dict[int, _Member] = {}
        self._totals = Totals()

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Roster]:
        """A roster that takes workers in while the context is open, on the running event loop."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        roster = cls(ours, theirs)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, roster._enlist)
        try:
            yield roster
        finally:
            loop.remove_reader(ours)
            ours.close()
            theirs.close()
            for member in roster._members.values():
                member.close()

    @property
    def descriptor(self) -> int:
        """What the workers inherit."""
        return self._theirs.fileno()

    def has(self, pid: int) -> bool:
        """Whether the worker with this process id is ready."""
        return pid in self._members

    def dismiss(self, pid: int) -> None:
        """Forget a worker that has ended, but not what it had counted when it was last asked."""
        member = self._members.pop(pid, None)
        if member is not None:
            self._totals.keep(member.latest)
            member.close()

    async def exposition(self) -> bytes:
        """What all workers count, in Prometheus' text format."""
        members = list(self._members.values())
        answers = await asyncio.gather(*(member.ask() for member in members))
        return self._totals.exposition(answers)

    def _enlist(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._ours, _MESSAGE_BYTES, 1)
        except BlockingIOError:
            return
        if len(descriptors) != 1 or not message.isdigit():
            for descriptor in descriptors:
                os.close(descriptor)
            log.error("a worker's message cannot be read", message=message)
            return
        os.set_inheritable(descriptors[0], False)
        self._members[int(message)] = _Member(socket.socket(fileno=descriptors[0]))


class _Member:
    """One worker that runs."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._asking: asyncio.Task[None] | None = None
        self.latest: Snapshot = []

    async def ask(self) -> Snapshot:
        """What it counts now; what it said last when it does not answer in time."""
        # One that is late is asked no second question: its answer would be taken for that one's.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait((self._asking,), timeout=_PATIENCE)
        return self.latest

    def close(self) -> None:
        """Ask no more."""
        if self._asking is None:
            self._connection.close()
        else:
            # The loop looks at the socket until the question has been taken back.
            self._asking.add_done_callback(lambda _: self._connection.close())
            self._asking.cancel()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._connection, ASK)
            (length,) = HEADER.unpack(await self._read(HEADER.size))
            self.latest = decoded(await self._read(length))
        except (OSError, EOFError) as error:
            # It has ended; the supervisor says so.
            log.debug("a worker did not answer", error=str(error))

    async def _read(self, length: int) -> bytes:
        loop = asyncio.get_running_loop()
        received = bytearray()
        while len(received) < length:
            piece = await loop.sock_recv(self._connection, length - len(received))
            if not piece:
                raise EOFError("the worker hung up")
            received += piece
        return bytes(received)
