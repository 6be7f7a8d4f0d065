"""Accepting from a socket that others accept from as well, on both kinds of event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import structlog
import uvloop

from api_gateway.acceptor import Acceptor
from api_gateway.server import listen_tcp


class Greets(asyncio.Protocol):
    """Says one byte and hangs up; counts the connections that it has seen."""

    seen = 0
    gone = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        Greets.seen += 1
        transport.write(b"!")
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        Greets.gone += 1


class Silent(Greets):
    """Says nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        Greets.seen += 1


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on an event loop of each kind."""
    Greets.seen = Greets.gone = 0

    async def to_its_end(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(20):
            result = await coroutine
            while Greets.gone < Greets.seen:
                await asyncio.sleep(0)
            return result

    def runs(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(to_its_end(coroutine))

    return runs


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen_tcp("127.0.0.1", 0) as made:
        yield made


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """No new file can be opened meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def greeted(connection: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(connection, 1)


def client_of(listener: socket.socket) -> socket.socket:
    connection = socket.create_connection(listener.getsockname(), timeout=10)
    connection.setblocking(False)
    return connection


def test_every_connection_of_a_burst_is_served(run, listener) -> None:
    async def burst() -> None:
        clients = [client_of(listener) for _ in range(100)]
        acceptor = Acceptor(listener, Greets)
        acceptor.start()
        assert await asyncio.gather(*map(greeted, clients)) == [b"!"] * 100
        acceptor.close()
        for client in clients:
            client.close()

    run(burst())
    assert Greets.seen == 100


def test_two_on_one_socket_share_a_burst_evenly(run, listener) -> None:
    taken = [0, 0]

    def counting(index: int) -> Callable[[], asyncio.Protocol]:
        def make() -> asyncio.Protocol:
            taken[index] += 1
            return Greets()

        return make

    async def burst() -> None:
        clients = [client_of(listener) for _ in range(64)]
        with listener.dup() as other:
            acceptors = [Acceptor(listener, counting(0)), Acceptor(other, counting(1))]
            for acceptor in acceptors:
                acceptor.start()
            assert await asyncio.gather(*map(greeted, clients)) == [b"!"] * 64
            for acceptor in acceptors:
                acceptor.close()
        for client in clients:
            client.close()

    run(burst())
    assert sum(taken) == 64
    assert min(taken) >= 16


def test_without_a_free_descriptor_it_says_so_once_and_goes_on_when_there_is_one(run, listener) -> None:
    async def starve() -> list[str]:
        client = client_of(listener)
        acceptor = Acceptor(listener, Greets)
        with structlog.testing.capture_logs() as lines:
            with no_descriptor_left():
                acceptor.start()
                # Several pauses long.
                await asyncio.sleep(0.7)
                assert Greets.seen == 0
            assert await greeted(client) == b"!"
        acceptor.close()
        client.close()
        return [f"{line['log_level']}: {line['event']}" for line in lines]

    assert run(starve()) == [
        "error: no connection can be accepted for now",
        "warning: connections are accepted again",
    ]


def test_without_a_free_descriptor_it_does_not_spin(run, listener) -> None:
    async def starve() -> int:
        client = client_of(listener)
        acceptor = Acceptor(listener, Greets)
        calls = 0
        accept = acceptor._accept

        def counted() -> None:
            nonlocal calls
            calls += 1
            accept()

        acceptor._accept = counted  # type: ignore[method-assign]
        with no_descriptor_left():
            acceptor.start()
            await asyncio.sleep(0.7)
        acceptor.close()
        client.close()
        return calls

    assert 2 <= run(starve()) <= 5


def test_after_its_end_it_takes_nothing(run, listener) -> None:
    async def end() -> None:
        acceptor = Acceptor(listener, Greets)
        acceptor.start()
        acceptor.close()
        acceptor.close()
        client = client_of(listener)
        await asyncio.sleep(0.1)
        assert Greets.seen == 0
        client.close()
        await acceptor.wait_closed()

    run(end())


def test_a_connection_that_was_being_taken_at_the_end_is_closed(run, listener) -> None:
    async def end() -> bytes:
        client = client_of(listener)
        acceptor = Acceptor(listener, Silent)
        acceptor.start()
        async with asyncio.timeout(5):
            while not acceptor._connecting:
                await asyncio.sleep(0)
        acceptor.close()
        await acceptor.wait_closed()
        try:
            return await greeted(client)
        finally:
            client.close()

    assert run(end()) == b""
