"""A worker's side: it tells its parent that it is ready, and what it has counted when it is asked."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from moorage.supervisor.parent_death import WORKER
from moorage.workers.metrics import encoded, snapshot

# Names the inherited socket on which workers report (a descriptor).
ROSTER = "MOORAGE_WORKER_ROSTER"

# What the parent sends for a snapshot of the metrics, and what comes before it: its length in bytes.
ASK = b"?"
HEADER = struct.Struct("!I")


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
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        answering = asyncio.create_task(_answer(ours))
        try:
            yield lambda: _report(int(environ[ROSTER]), theirs)
        finally:
            answering.cancel()
            with suppress(asyncio.CancelledError):
                await answering


def _nobody_asks() -> None:
    """Report to nobody."""


def _report(roster: int, connection: socket.socket) -> None:
    with connection, socket.socket(fileno=roster) as parent:
        socket.send_fds(parent, [str(os.getpid()).encode("ascii")], [connection.fileno()])


async def _answer(connection: socket.socket) -> None:
    """Answer each question until the parent hangs up."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(connection, len(ASK)):
            text = encoded(snapshot())
            await loop.sock_sendall(connection, HEADER.pack(len(text)) + text)
    except ConnectionError:
        # The parent is gone, and this process with it.
        return
