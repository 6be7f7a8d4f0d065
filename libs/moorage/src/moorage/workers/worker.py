"""A worker's side: it tells its parent that it is ready, what it has counted, and how it is."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from moorage.inspection import Question, answer
from moorage.supervisor.parent_death import WORKER
from moorage.workers.metrics import encoded, snapshot

# Names the inherited socket on which workers report (a descriptor).
ROSTER = "MOORAGE_WORKER_ROSTER"

# What the parent sends for a snapshot of the metrics.
ASK = b"?"

# What comes before a message: its length in bytes.
_HEADER = struct.Struct("!I")


def is_worker(environ: Mapping[str, str]) -> bool:
    """Whether this process is one of several that are one service."""
    return WORKER in environ


def is_first_worker(environ: Mapping[str, str]) -> bool:
    """Whether this process does what only one of several does; one that is alone does it too."""
    return environ.get(WORKER, "1") == "1"


@asynccontextmanager
async def enlisted(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Callable[[], None]]:
    """Answer the parent while the context is open; what it gives, to be called once, reports as ready.

    A process that is no worker has nobody to report to, and nothing happens. Reporting raises OSError when
    the parent is gone.
    """
    if ROSTER not in environ:
        yield _nobody_asks
        return
    counts, asks_counts = socket.socketpair()
    inspected, inspects = socket.socketpair()
    with counts, asks_counts, inspected, inspects:
        counts.setblocking(False)
        inspected.setblocking(False)
        # One connection each: a profile takes its time, and metrics are asked for meanwhile.
        answering = [asyncio.create_task(_answer(counts)), asyncio.create_task(_be_inspected(inspected))]
        number = int(environ.get(WORKER, "1"))
        try:
            yield lambda: _report(int(environ[ROSTER]), number, (asks_counts, inspects))
        finally:
            for task in answering:
                task.cancel()
            for task in answering:
                with suppress(asyncio.CancelledError):
                    await task


def _nobody_asks() -> None:
    """Report to nobody."""


def _report(roster: int, number: int, connections: tuple[socket.socket, socket.socket]) -> None:
    with socket.socket(fileno=roster) as parent:
        descriptors = [connection.fileno() for connection in connections]
        socket.send_fds(parent, [f"{os.getpid()} {number}".encode("ascii")], descriptors)
    for connection in connections:
        connection.close()


async def _answer(connection: socket.socket) -> None:
    """Answer each question until the parent hangs up."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(connection, len(ASK)):
            await send_message(connection, encoded(snapshot()))
    except ConnectionError:
        # The parent is gone, and this process with it.
        return


async def _be_inspected(connection: socket.socket) -> None:
    """Answer the debug server's questions, one after another, until the parent hangs up."""
    try:
        while (content := await read_message(connection)) is not None:
            await send_message(connection, (await answer(Question.unpacked(content))).packed())
    except ConnectionError:
        return


async def send_message(connection: socket.socket, content: bytes) -> None:
    """Send one message behind its length. Raises ConnectionError."""
    await asyncio.get_running_loop().sock_sendall(connection, _HEADER.pack(len(content)) + content)


async def read_message(connection: socket.socket) -> bytes | None:
    """One message behind its length; None when the other end has hung up. Raises ConnectionError."""
    head = await _exactly(connection, _HEADER.size)
    return None if head is None else await _exactly(connection, _HEADER.unpack(head)[0])


async def _exactly(connection: socket.socket, length: int) -> bytes | None:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < length:
        piece = await loop.sock_recv(connection, length - len(received))
        if not piece:
            return None
        received += piece
    return bytes(received)
