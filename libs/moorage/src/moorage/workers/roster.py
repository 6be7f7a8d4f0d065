"""The workers that run, as their parent knows them: by the connection that each has made.

Every worker inherits one end of a socket. When it is ready it sends its process id and its number there, with
one end of two connections of its own: over one the parent asks for its metrics, over the other what the debug
server wants to know (`worker.py` is the other side).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from moorage.inspection import Answer, Question
from moorage.workers.metrics import Snapshot, Totals, decoded
from moorage.workers.worker import ASK, read_message, send_message

log = structlog.get_logger("moorage.workers")

# Seconds that a worker may take to answer; then what it said last counts.
_PATIENCE = 2.0

# A message holds a process id and a worker's number.
_MESSAGE_BYTES = 32
_CONNECTIONS = 2


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

    @property
    def numbers(self) -> list[int]:
        """The numbers of the workers that are ready, from 1."""
        return sorted(member.number for member in self._members.values())

    async def inspect(self, number: int, question: Question) -> Answer | None:
        """What the worker with this number answers; None when it does not run, or is busy with a question."""
        for member in self._members.values():
            if member.number == number:
                return await member.inspect(question)
        return None

    def _enlist(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._ours, _MESSAGE_BYTES, _CONNECTIONS)
        except BlockingIOError:
            return
        pid, _, number = message.partition(b" ")
        if len(descriptors) != _CONNECTIONS or not (pid.isdigit() and number.isdigit()):
            for descriptor in descriptors:
                os.close(descriptor)
            log.error("a worker's message cannot be read", message=message)
            return
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        counts, inspects = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        self._members[int(pid)] = _Member(int(number), counts, inspects)


class _Member:
    """One worker that runs."""

    def __init__(self, number: int, connection: socket.socket, inspecting: socket.socket) -> None:
        connection.setblocking(False)
        inspecting.setblocking(False)
        self.number = number
        self._connection = connection
        self._inspecting = inspecting
        self._asking: asyncio.Task[None] | None = None
        self._inspection: asyncio.Task[Answer | None] | None = None
        self.latest: Snapshot = []

    async def ask(self) -> Snapshot:
        """What it counts now; what it said last when it does not answer in time."""
        # One that is late is asked no second question: its answer would be taken for that one's.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait((self._asking,), timeout=_PATIENCE)
        return self.latest

    async def inspect(self, question: Question) -> Answer | None:
        """What it answers; None when it ends before, or has another question to answer.

        When whoever asks goes away, the worker answers all the same, and nobody reads it.
        """
        if self._inspection is not None and not self._inspection.done():
            return None
        asking = self._inspection = asyncio.create_task(self._inspect(question))
        await asyncio.wait((asking,))
        return None if asking.cancelled() else asking.result()

    def close(self) -> None:
        """Ask no more."""
        _close(self._connection, self._asking)
        _close(self._inspecting, self._inspection)

    async def _inspect(self, question: Question) -> Answer | None:
        try:
            await send_message(self._inspecting, question.packed())
            content = await read_message(self._inspecting)
        except OSError as error:
            log.debug("a worker did not answer", error=str(error))
            return None
        return None if content is None else Answer.unpacked(content)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._connection, ASK)
            content = await read_message(self._connection)
        except OSError as error:
            # It has ended; the supervisor says so.
            log.debug("a worker did not answer", error=str(error))
            return
        if content is None:
            log.debug("a worker did not answer", error="it hung up")
        else:
            self.latest = decoded(content)


def _close(connection: socket.socket, question: asyncio.Task[Any] | None) -> None:
    if question is None:
        connection.close()
    else:
        # The loop looks at the socket until the question has been taken back.
        question.add_done_callback(lambda _: connection.close())
        question.cancel()
