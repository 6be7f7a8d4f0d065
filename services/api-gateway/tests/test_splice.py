"""Bytes that move from socket to socket in the kernel."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from api_gateway.clients.channel.splice import Pipe, SourceError, TargetError

LARGE = os.urandom(1 << 20) * 8


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Two connections: what is written to the first arrives at the second, the same for third and fourth."""
    pairs = [*tcp_pair(), *tcp_pair()]
    for each in pairs:
        each.setblocking(False)
    yield pairs
    for each in pairs:
        each.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


async def read_all(connection: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < count and (data := await loop.sock_recv(connection, 1 << 20)):
        received += data
    return bytes(received)


async def test_as_many_bytes_as_asked_for_arrive_and_what_follows_stays(sockets) -> None:
    client, source, target, server = sockets
    loop = asyncio.get_running_loop()
    sending = asyncio.ensure_future(loop.sock_sendall(client, LARGE + b"next"))
    reading = asyncio.ensure_future(read_all(server, len(LARGE)))
    with Pipe() as pipe:
        assert await pipe.move(source.fileno(), target.fileno(), count=len(LARGE), stall=10)
        assert (pipe.moved, pipe.buffered) == (len(LARGE), 0)
    assert await reading == LARGE
    await sending
    assert source.recv(100) == b"next"


async def test_a_source_that_ends_early_is_told_from_one_that_is_whole(sockets) -> None:
    client, source, target, server = sockets
    client.sendall(b"half")
    client.shutdown(socket.SHUT_WR)
    with Pipe() as pipe:
        assert not await pipe.move(source.fileno(), target.fileno(), count=8, stall=10)
    assert await read_all(server, 4) == b"half"


@pytest.mark.parametrize("count", [4, None])
async def test_a_source_without_end_that_ends_has_not_sent_all(sockets, count: int | None) -> None:
    client, source, target, _ = sockets
    client.sendall(b"four")
    client.shutdown(socket.SHUT_WR)
    with Pipe() as pipe:
        assert await pipe.move(source.fileno(), target.fileno(), count=count, stall=10) is (count == 4)


async def test_a_source_that_stands_still_is_named(sockets) -> None:
    _, source, target, _ = sockets
    with Pipe() as pipe:
        with pytest.raises(SourceError) as caught:
            await pipe.move(source.fileno(), target.fileno(), count=1, stall=0.05)
        assert caught.value.standstill


async def test_a_target_that_takes_nothing_is_named_and_holds_no_more_than_the_pipe(sockets) -> None:
    client, source, target, _ = sockets
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(client, LARGE * 4))
    with Pipe() as pipe:
        with pytest.raises(TargetError) as caught:
            await pipe.move(source.fileno(), target.fileno(), count=len(LARGE) * 4, stall=0.2)
        assert caught.value.standstill
        assert pipe.buffered <= 1 << 20
    sending.cancel()


async def test_a_target_that_is_gone_is_named(sockets) -> None:
    client, source, target, server = sockets
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(client, LARGE))
    server.close()
    with Pipe() as pipe, pytest.raises(TargetError) as caught:
        await pipe.move(source.fileno(), target.fileno(), count=len(LARGE), stall=10)
    assert not caught.value.standstill
    sending.cancel()


async def test_what_is_left_in_the_pipe_when_moving_is_cancelled_can_be_read(sockets) -> None:
    client, source, target, _ = sockets
    target.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = LARGE[: 6 << 20]
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(client, sent))
    with Pipe() as pipe:
        moving = asyncio.ensure_future(pipe.move(source.fileno(), target.fileno(), count=None, stall=10))
        await asyncio.sleep(0.2)
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        assert pipe.buffered > 0
        moved = pipe.moved
        rest = bytearray()
        while piece := pipe.rest():
            rest += piece
        assert bytes(rest) == sent[moved : moved + len(rest)]
    sending.cancel()
