"""The data channel's wire format: frames, and where it listens."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.channel import MAX_MESSAGE, MAX_TAIL, FrameBuffer, FrameError, connect, data_socket, pack_frame
from moorage.channel.waiting import readable, writable
from moorage.rpc import Address
from moorage.v1 import blob_pb2

_LOANS = st.builds(lambda ticket: blob_pb2.Loan(ticket=ticket), st.binary(max_size=50))


@given(st.lists(st.tuples(_LOANS, st.binary(max_size=50)), max_size=5), st.lists(st.integers(0, 500)))
def test_frames_are_the_same_however_they_are_cut(frames, cuts) -> None:
    stream = b"".join(pack_frame(loan, tail) for loan, tail in frames)
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    buffer, read = FrameBuffer(), []
    for start, end in pairwise(edges):
        buffer.feed(stream[start:end])
        while (frame := buffer.next_frame()) is not None:
            read.append((blob_pb2.Loan.FromString(frame.message), frame.tail))
    assert read == frames
    assert len(buffer) == 0


@given(_LOANS, st.binary(max_size=50), st.binary(max_size=20))
def test_who_reads_what_is_missing_takes_nothing_of_what_follows(loan, tail, behind) -> None:
    stream = pack_frame(loan, tail) + behind
    buffer, taken = FrameBuffer(), 0
    while (frame := buffer.next_frame()) is None:
        count = buffer.missing()
        assert count >= 1
        buffer.feed(stream[taken : taken + count])
        taken += count
    assert stream[taken:] == behind
    assert frame.tail == tail


@given(_LOANS, st.binary(min_size=1, max_size=50))
def test_a_message_is_there_before_its_tail(loan, tail) -> None:
    frame = pack_frame(loan, tail)
    buffer = FrameBuffer()
    for position in range(len(frame) - len(tail)):
        assert buffer.next_message() is None
        buffer.feed(frame[position : position + 1])
    assert buffer.next_message() == loan.SerializeToString()
    assert buffer.next_frame() is None
    buffer.feed(tail)
    assert buffer.next_message() == loan.SerializeToString()
    frame_again = buffer.next_frame()
    assert frame_again is not None
    assert frame_again.tail == tail


@pytest.mark.parametrize("lengths", [(MAX_MESSAGE + 1, 0), (0, MAX_TAIL + 1), (2**32 - 1, 2**32 - 1)])
def test_lengths_that_no_frame_has_are_refused_as_soon_as_they_are_read(lengths) -> None:
    buffer = FrameBuffer()
    buffer.feed(struct.pack("!II", *lengths))
    for look in (buffer.next_frame, buffer.next_message, buffer.missing):
        with pytest.raises(FrameError):
            look()


def test_a_buffer_may_take_shorter_messages_only() -> None:
    buffer = FrameBuffer(max_message=10)
    buffer.feed(pack_frame(blob_pb2.Loan(ticket=b"x" * 8)))
    assert buffer.next_frame() is not None
    buffer.feed(pack_frame(blob_pb2.Loan(ticket=b"x" * 9)))
    with pytest.raises(FrameError):
        buffer.next_frame()


def test_what_does_not_fit_a_frame_is_not_packed() -> None:
    with pytest.raises(FrameError):
        pack_frame(blob_pb2.Loan(ticket=bytes(MAX_MESSAGE)))
    with pytest.raises(FrameError):
        pack_frame(blob_pb2.Loan(), bytes(MAX_TAIL + 1))


def test_the_data_socket_is_beside_the_services_own() -> None:
    assert data_socket(Address.parse("unix:///run/moorage/blob.sock")) == Path("/run/moorage/blob.sock.data")
    assert data_socket(Address.parse("127.0.0.1:5000")) is None
    # Too long for a socket's address with the suffix.
    assert data_socket(Address.parse(f"unix:///{'x' * 103}")) is None


async def test_waiting_leaves_nothing_registered() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(5):
            await writable(writing)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await readable(reading)
        os.write(writing, b"x")
        async with asyncio.timeout(5):
            await readable(reading)
        assert not loop.remove_reader(reading)
        assert not loop.remove_writer(writing)
        os.read(reading, 1)
    finally:
        os.close(writing)
    # The end is readable as well.
    async with asyncio.timeout(5):
        await readable(reading)
    os.close(reading)


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
async def test_a_socket_connects_or_says_why_not(short_folder: Path, family: str) -> None:
    kind = getattr(socket, family)
    with socket.socket(kind) as listener:
        listener.bind(str(short_folder / "socket") if family == "AF_UNIX" else ("127.0.0.1", 0))
        with socket.socket(kind) as early:
            early.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await connect(early, listener.getsockname())
        listener.listen()
        with socket.socket(kind) as client:
            client.setblocking(False)
            await connect(client, listener.getsockname())
            listener.accept()[0].close()
            await readable(client.fileno())
            assert client.recv(1) == b""
