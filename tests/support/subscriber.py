"""A webhook's subscriber: a real HTTP server that a test can make behave as badly as it likes."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        return list(self.document["events"])


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int = 200, body: bytes = b"", headers: str = "") -> Behaviour:
    """Answer at once."""

    async def behave(_request: Request, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return behave


class Subscriber:
    """Keeps what it was sent. `behave` is how it answers the next requests; each may be another."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.accepted: list[Request] = []
        self.behave: Behaviour = answer()
        self.connections = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self._tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """The ids of all events of all requests, in the order in which they came."""
        return [event["id"] for request in self.requests for event in request.events]

    @property
    def accepted_ids(self) -> set[str]:
        """The ids of the events that were accepted."""
        return {event["id"] for request in self.accepted for event in request.events}

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, on the same port as before."""
        self._tls = tls
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything, in the middle of whatever it is."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        """Wait until something is true of what came."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def has(self, count: int, timeout: float = 20) -> None:
        """Wait until that many requests have come."""
        await self.until(lambda: len(self.requests) >= count, timeout)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            # Cancelled is a connection that `stop` ends: asyncio's server would complain of it.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    request = await _read(reader)
                    self.requests.append(request)
                    self._changed.set()
                    await self.behave(request, writer)
                    self._changed.set()
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {}
    for line in filter(None, head[1:]):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body)


def accepting(subscriber: Subscriber, refuse: Callable[[Request], bool] = lambda _: False) -> None:
    """Refuse with 500 what `refuse` is true of, and note what is accepted."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        if refuse(request):
            await answer(500)(request, writer)
        else:
            subscriber.accepted.append(request)
            await answer(200)(request, writer)

    subscriber.behave = behave


@asynccontextmanager
async def subscribing(tls: ssl.SSLContext | None = None) -> AsyncIterator[Subscriber]:
    """A subscriber that runs while the context is open."""
    subscriber = Subscriber()
    await subscriber.start(tls)
    try:
        yield subscriber
    finally:
        await subscriber.stop()


@contextmanager
def subscribing_aside() -> Iterator[Subscriber]:
    """A subscriber in a thread of its own, for tests that wait for programs; they only read what came."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="subscriber", daemon=True)
    thread.start()
    subscriber = Subscriber()
    asyncio.run_coroutine_threadsafe(subscriber.start(), loop).result(10)
    try:
        yield subscriber
    finally:
        asyncio.run_coroutine_threadsafe(subscriber.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
