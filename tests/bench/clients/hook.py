"""A webhook's subscriber that costs little: it counts events, in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_uint64
from multiprocessing.sharedctypes import Synchronized

from bench.clients.work import WrongAnswerError

_spawned = multiprocessing.get_context("spawn")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Each event has one, and nothing else that the benchmark causes.
_EVENT = b'"action"'

# Seconds: nothing has come for so long when everything has.
_QUIET = 0.5


class Hook:
    """Where the subscriber is, and how many events it was given."""

    def __init__(self, port: int, count: Synchronized[int]) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self._count = count

    @property
    def events(self) -> int:
        return self._count.value

    def wait_for(self, events: int, *, timeout: float = 120) -> None:
        """Wait until it was given so many; raises WrongAnswerError when it is not."""
        deadline = time.monotonic() + timeout
        while self.events < events:
            if time.monotonic() > deadline:
                raise WrongAnswerError(f"told of {self.events} events, not of {events}")
            time.sleep(0.001)

    def wait_until_quiet(self, *, timeout: float = 120) -> None:
        """Wait until no more events come."""
        deadline = time.monotonic() + timeout
        before = -1
        while before != self.events and time.monotonic() < deadline:
            before = self.events
            time.sleep(_QUIET)


class _Connection(asyncio.Protocol):
    def __init__(self, count: Synchronized[int]) -> None:
        self._count = count
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            self._count.value += self._buffer.count(_EVENT, head, end)
            del self._buffer[:end]
            assert self._transport is not None
            self._transport.write(_ANSWER)


def _serve(port: Synchronized[int], count: Synchronized[int]) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(count), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def subscribing() -> Iterator[Hook]:
    """A subscriber while the context is open."""
    port, count = _spawned.Value(c_uint64, 0), _spawned.Value(c_uint64, 0)
    process = _spawned.Process(target=_serve, args=(port, count), daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + 30
        while not port.value:
            if time.monotonic() > deadline or not process.is_alive():
                raise WrongAnswerError("the subscriber does not listen")
            time.sleep(0.01)
        yield Hook(port.value, count)
    finally:
        process.kill()
        process.join()
