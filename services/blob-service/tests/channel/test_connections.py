"""Who may connect to the data channel, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from pathlib import Path

import pytest

from blob_service.channel import server as server_module
from moorage.channel import pack_frame
from moorage.v1 import blob_pb2

# Storage that shows what is written before it is flushed: by that these tests see how far a call is.
SHOWN_AT_ONCE = pytest.mark.parametrize("storage", ["filesystem", "inmemory"], indirect=True)


MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


async def test_the_data_socket_is_the_users_own(channel) -> None:
    assert stat.S_IMODE(channel.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(channel.path.parent.stat().st_mode) == 0o700


async def test_the_kernel_tells_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert server_module.peer_user(ours) == os.geteuid()


async def test_another_users_connection_is_closed(channel, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "peer_user", lambda connection: os.geteuid() + 4711)
    gateway = await channel.connect()
    assert await gateway.closed()


async def test_a_stale_socket_is_replaced_and_a_file_in_the_way_is_not(serve_channel, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / "blob.sock.data"))
    stale.close()
    channel = await serve_channel()
    await channel.connect()
    await channel.server.stop(0)
    assert not channel.path.exists()
    channel.path.write_text("precious")
    with pytest.raises(OSError, match="not a socket"):
        await serve_channel()
    assert channel.path.read_text() == "precious"


async def test_nothing_listens_when_the_channel_is_off(serve_channel) -> None:
    channel = await serve_channel(blob="channel: off")
    assert not channel.path.exists()


@pytest.mark.parametrize("sockets", [0, 2, 4, 20])
async def test_a_loan_comes_with_exactly_one_socket(
    channel, pair, sends, content_of, descriptors, eventually, sockets
) -> None:
    digest = await channel.store(content_of(10))
    before = descriptors()
    gateway = await channel.connect()
    gateway.lend(sends(digest, 10, (HEAD, 0, 10)), *[pair[0]] * sockets)
    assert await gateway.closed()
    gateway.close()
    await eventually(lambda: descriptors() == before, "every descriptor is closed")


async def test_a_socket_that_blocks_is_refused(channel, sends, content_of, descriptors, eventually) -> None:
    digest = await channel.store(content_of(10))
    before = descriptors()
    gateway = await channel.connect()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        gateway.lend(sends(digest, 10, (HEAD, 0, 10)), ours)
        assert await gateway.closed()
    gateway.close()
    await eventually(lambda: descriptors() == before, "every descriptor is closed")


async def test_what_is_no_socket_is_refused(channel, sends, content_of, descriptors, eventually) -> None:
    digest = await channel.store(content_of(10))
    before = descriptors()
    gateway = await channel.connect()
    reading, writing = os.pipe2(os.O_NONBLOCK)
    gateway.lend(sends(digest, 10, (HEAD, 0, 10)), writing)
    assert await gateway.closed()
    for descriptor in (reading, writing):
        os.close(descriptor)
    gateway.close()
    await eventually(lambda: descriptors() == before, "every descriptor is closed")


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!II", 1 << 30, 0),
        struct.pack("!II", 0, 1 << 30),
        struct.pack("!II", 3, 0) + b"\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        pack_frame(blob_pb2.Loan()),
        pack_frame(blob_pb2.Loan(ticket=b"x")),
        pack_frame(blob_pb2.LoanEvent(started=blob_pb2.Started())),
    ],
)
@pytest.mark.parametrize("with_socket", [False, True])
async def test_what_is_no_loan_is_refused(channel, pair, descriptors, eventually, data, with_socket) -> None:
    before = descriptors()
    gateway = await channel.connect()
    gateway.send(data, *([pair[0]] if with_socket else []))
    assert await gateway.closed()
    gateway.close()
    await eventually(lambda: descriptors() == before, "every descriptor is closed")


async def test_sockets_that_come_with_a_tail_are_closed(
    channel, pair, receives, descriptors, eventually
) -> None:
    upload = await channel.upload()
    before = descriptors()
    gateway = await channel.connect()
    frame = pack_frame(receives(upload, length=4), b"body")
    gateway.send(frame[:-4], pair[0])
    await asyncio.sleep(0.05)
    gateway.send(frame[-4:], pair[0])
    assert await gateway.closed()
    gateway.close()
    await eventually(lambda: descriptors() == before, "every descriptor is closed")


async def test_a_loan_may_come_in_pieces(channel, pair, receives) -> None:
    upload = await channel.upload()
    gateway = await channel.connect()
    frame = pack_frame(receives(upload, length=4), b"body")
    gateway.send(frame[:3], pair[0])
    for byte in frame[3:]:
        await asyncio.sleep(0)
        gateway.send(bytes([byte]))
    assert (await gateway.last())[1].appended.offset == 4


async def test_a_connection_without_a_loan_is_closed_in_time(channel, monkeypatch, pair) -> None:
    monkeypatch.setattr(server_module, "_LOAN_SECONDS", 0.1)
    silent, halting = await channel.connect(), await channel.connect()
    halting.send(struct.pack("!II", 100, 0), pair[0])
    assert await silent.closed()
    assert await halting.closed()


async def test_a_connection_may_wait_between_two_loans(channel, monkeypatch, pair, sends, content_of) -> None:
    digest = await channel.store(content_of(10))
    gateway = await channel.connect()
    gateway.lend(sends(digest, 10, (HEAD, 0, 10)), pair[0])
    await gateway.last()
    monkeypatch.setattr(server_module, "_LOAN_SECONDS", 0.2)
    await asyncio.sleep(0.5)
    gateway.lend(sends(digest, 10, (HEAD, 0, 10)), pair[0])
    assert (await gateway.last())[0] == ["started", "finished"]


async def test_there_are_only_so_many_connections(channel, monkeypatch, pair, sends, content_of) -> None:
    monkeypatch.setattr(server_module, "_MOST", 2)
    digest = await channel.store(content_of(10))
    first, second = await channel.connect(), await channel.connect()
    assert await (await channel.connect()).closed()
    first.close()
    second.lend(sends(digest, 10, (HEAD, 0, 10)), pair[0])
    assert (await second.last())[0] == ["started", "finished"]
    third = await channel.connect()
    third.lend(sends(digest, 10, (HEAD, 0, 10)), pair[0])
    assert (await third.last())[0] == ["started", "finished"]


@SHOWN_AT_ONCE
async def test_a_frame_in_mid_loan_ends_the_connection(
    channel, pair, receives, descriptors, eventually
) -> None:
    upload = await channel.upload()
    before = descriptors()
    gateway = await channel.connect()
    gateway.lend(receives(upload, length=100), pair[0], tail=b"0123")

    async def stored() -> bool:
        return await channel.offset(upload) == 4

    await eventually(stored, "the loan is under way")
    gateway.lend(receives(upload, length=100), pair[0])
    assert await gateway.closed()
    gateway.close()
    await eventually(lambda: descriptors() == before, "every descriptor is closed")
    assert await channel.offset(upload) == 4


@SHOWN_AT_ONCE
async def test_stopping_lets_a_loan_end_and_closes_what_waits(channel, pair, receives, eventually) -> None:
    upload = await channel.upload()
    gateway, idle = await channel.connect(), await channel.connect()
    ours, theirs = pair
    gateway.lend(receives(upload, length=8), ours, tail=b"0123")

    async def stored() -> bool:
        return await channel.offset(upload) == 4

    await eventually(stored, "the loan is under way")
    stopping = asyncio.create_task(channel.server.stop(20))
    assert await idle.closed()
    assert not stopping.done()
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        await channel.connect()
    theirs.send(b"4567")
    assert (await gateway.last())[1].appended.offset == 8
    # The connection takes no other loan.
    assert await gateway.closed()
    async with asyncio.timeout(5):
        await stopping
    assert not channel.path.exists()


@SHOWN_AT_ONCE
async def test_stopping_drops_a_loan_that_takes_too_long_and_keeps_what_came(
    channel, pair, receives, descriptors, eventually
) -> None:
    upload = await channel.upload()
    before = descriptors()
    gateway = await channel.connect()
    gateway.lend(receives(upload, length=8), pair[0], tail=b"0123")

    async def stored() -> bool:
        return await channel.offset(upload) == 4

    await eventually(stored, "the loan is under way")
    async with asyncio.timeout(5):
        await channel.server.stop(0.1)
    assert await gateway.closed()
    gateway.close()
    # The listener is closed as well.
    await eventually(lambda: descriptors() < before, "every descriptor is closed")
    assert await channel.offset(upload) == 4


async def test_a_connection_that_ends_at_once_disturbs_no_other(
    channel, monkeypatch, pair, sends, content_of
) -> None:
    digest = await channel.store(content_of(10))
    real, failures = server_module.peer_user, 2

    def fails_at_first(connection: socket.socket) -> int:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(107, "not connected")
        return real(connection)

    monkeypatch.setattr(server_module, "peer_user", fails_at_first)
    assert await (await channel.connect()).closed()
    assert await (await channel.connect()).closed()
    gateway = await channel.connect()
    gateway.lend(sends(digest, 10, (HEAD, 0, 10)), pair[0])
    assert (await gateway.last())[0] == ["started", "finished"]
