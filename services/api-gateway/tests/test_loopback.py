"""Connections that stay on this host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from api_gateway.acceptor import Acceptor
from api_gateway.loopback import unpace
from api_gateway.server import listen_tcp


def congestion_control(connection: socket.socket) -> bytes:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with listen_tcp("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            yield accepted


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_what_comes_over_loopback_is_not_paced(connection: socket.socket, host: str) -> None:
    unpace(connection, (host, 40000))
    assert congestion_control(connection) == b"reno"


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.127.1", "1.127.0.1", "::", "::ffff:10.0.0.1", "fe80::1", "203.0.113.7", ""]
)
def test_what_comes_from_elsewhere_keeps_the_hosts_congestion_control(
    connection: socket.socket, host: str
) -> None:
    before = congestion_control(connection)
    unpace(connection, (host, 40000))
    assert congestion_control(connection) == before


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_connection_that_is_accepted_over_loopback_is_not_paced(host: str) -> None:
    accepted: asyncio.Queue[bytes] = asyncio.Queue()

    class Look(asyncio.Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            accepted.put_nowait(congestion_control(transport.get_extra_info("socket")))
            transport.close()

    with listen_tcp(host, 0) as listener:
        acceptor = Acceptor(listener, Look)
        acceptor.start()
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        async with asyncio.timeout(10):
            assert await accepted.get() == b"reno"
        writer.close()
        acceptor.close()
        await acceptor.wait_closed()
