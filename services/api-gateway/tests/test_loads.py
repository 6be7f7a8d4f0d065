"""The connections of each worker, and who takes the next one."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from api_gateway.acceptor import Acceptor
from api_gateway.loads import InheritedLoad, SharedLoads
from api_gateway.server import listen_tcp


@pytest.fixture
def loads() -> Iterator[SharedLoads]:
    with closing(SharedLoads(2)) as made:
        yield made


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listen_tcp("127.0.0.1", 0) as made:
        yield made


def worker(loads: SharedLoads, number: int) -> InheritedLoad:
    """The load as the worker with this number has it, through a descriptor of its own."""
    return InheritedLoad(os.dup(loads.descriptor), number)


def test_it_is_the_turn_of_whoever_has_the_fewest(loads) -> None:
    first, second = worker(loads, 1), worker(loads, 2)
    assert (first.is_lowest, second.is_lowest) == (True, True)
    first.opened()
    assert (first.is_lowest, second.is_lowest) == (False, True)
    second.opened()
    second.opened()
    assert (first.is_lowest, second.is_lowest) == (True, False)
    second.closed()
    second.closed()
    assert (first.is_lowest, second.is_lowest) == (False, True)


def test_nobody_waits_for_a_worker_that_does_not_run(loads) -> None:
    first = worker(loads, 1)
    first.opened()
    assert first.is_lowest, "the other one has not been started"
    worker(loads, 2)
    assert not first.is_lowest
    loads.absent(2)
    assert first.is_lowest, "the other one has ended"


def test_a_worker_that_is_started_again_has_no_connections(loads) -> None:
    first = worker(loads, 1)
    for _ in range(3):
        first.opened()
    loads.absent(1)
    again, second = worker(loads, 1), worker(loads, 2)
    second.opened()
    assert (again.is_lowest, second.is_lowest) == (True, False)


class Silent(asyncio.Protocol):
    """Says nothing; counts the connections that it has seen."""

    def __init__(self, seen: list[asyncio.BaseTransport]) -> None:
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._seen.append(transport)


async def test_a_busier_worker_leaves_a_connection_to_an_idle_one(loads, listener) -> None:
    taken: list[list[asyncio.BaseTransport]] = [[], []]
    busy, idle = worker(loads, 1), worker(loads, 2)
    for _ in range(8):
        busy.opened()
    with listener.dup() as other:
        acceptors = [
            Acceptor(listener, lambda: Silent(taken[0]), busy),
            Acceptor(other, lambda: Silent(taken[1]), idle),
        ]
        clients = [socket.create_connection(listener.getsockname(), timeout=5) for _ in range(8)]
        for acceptor in acceptors:
            acceptor.start()
        async with asyncio.timeout(10):
            while len(taken[0]) + len(taken[1]) < 8:
                await asyncio.sleep(0.001)
        await end(acceptors, taken, clients)
    # Not all: where this process is held up for longer than the moment, the busier one takes its turn.
    assert len(taken[1]) >= 6


async def test_a_connection_that_nobody_else_takes_waits_for_a_moment_only(loads, listener) -> None:
    taken: list[list[asyncio.BaseTransport]] = [[]]
    busy, _stuck = worker(loads, 1), worker(loads, 2)
    busy.opened()
    acceptor = Acceptor(listener, lambda: Silent(taken[0]), busy)
    acceptor.start()
    clients = [socket.create_connection(listener.getsockname(), timeout=5) for _ in range(8)]
    async with asyncio.timeout(5):
        while len(taken[0]) < 8:
            await asyncio.sleep(0.001)
    await end([acceptor], taken, clients)


async def end(
    acceptors: list[Acceptor], taken: list[list[asyncio.BaseTransport]], clients: list[socket.socket]
) -> None:
    for acceptor in acceptors:
        acceptor.close()
        await acceptor.wait_closed()
    for transport in (each for list_ in taken for each in list_):
        transport.close()
    for client in clients:
        client.close()
    await asyncio.sleep(0)
