"""SendLoan: a blob's parts, written to the client's own socket."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from blob_service.metrics import LOAN_BYTES, LOANS, SLOW_CLIENTS

MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
UNKNOWN = "sha256:" + "0" * 64


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 3 * MIB + 1])
async def test_the_client_gets_head_bytes_and_tail(
    channel, pair, sends, content_of, receive_from, size
) -> None:
    content = content_of(size)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(sends(digest, size, (HEAD, 0, size), tail=b"--end--"), ours)
    received = await receive_from(theirs, len(HEAD) + size + len(b"--end--"))
    assert received == HEAD + content + b"--end--"
    names, finished, tail = await gateway.last()
    assert (names, finished.moved, tail) == (["started", "finished"], size, b"")


async def test_parts_are_written_in_order_each_behind_its_head(
    channel, pair, sends, content_of, receive_from
) -> None:
    content = content_of(2 * MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = pair
    ranges = [(b"one", 0, 10), (b"two", MIB - 5, MIB), (b"", 7, 1), (b"four", 2 * MIB - 70_000, 70_000)]
    gateway.lend(sends(digest, len(content), *ranges, tail=b"tail"), ours)
    expected = b"".join(head + content[offset : offset + length] for head, offset, length in ranges) + b"tail"
    assert await receive_from(theirs, len(expected)) == expected
    _, finished, _ = await gateway.last()
    assert finished.moved == sum(length for _, _, length in ranges)


async def test_small_parts_go_out_in_one_piece(channel, sends, content_of) -> None:
    content = content_of(200_000)
    digest = await channel.store(content)
    gateway = await channel.connect()
    # Each send is one message here, and is received as one.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        parts = [(b"one", 100_000, 500), (b"two", 0, 20)]
        gateway.lend(sends(digest, len(content), *parts, tail=b"end"), ours)
        received = await asyncio.get_running_loop().sock_recv(theirs, 100_000)
    assert received == b"one" + content[100_000:100_500] + b"two" + content[:20] + b"end"


async def test_a_connection_carries_one_loan_after_another(
    channel, pair, sends, content_of, receive_from
) -> None:
    content = content_of(100_000)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = pair
    for number in range(5):
        head = b"%d" % number
        gateway.lend(sends(digest, len(content), (head, number, 1000)), ours)
        assert await receive_from(theirs, 1001) == head + content[number : number + 1000]
        assert (await gateway.last())[0] == ["started", "finished"]


async def test_many_clients_are_served_at_once(
    channel, sends, content_of, receive_from, descriptors, eventually
) -> None:
    content = content_of(2 * MIB)
    digest = await channel.store(content)
    before = descriptors()

    async def pull() -> None:
        gateway = await channel.connect()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
            assert await receive_from(theirs, len(HEAD) + len(content)) == HEAD + content
            assert (await gateway.last())[1].moved == len(content)
        gateway.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*(pull() for _ in range(40)))
    await eventually(lambda: descriptors() == before, "the descriptors are closed")


@pytest.mark.parametrize(
    ("part", "size"),
    [((HEAD, 0, 10), 99), ((HEAD, 0, 10), 101), ((HEAD, 95, 6), 100), ((HEAD, 101, 1), 100)],
)
async def test_a_blob_that_is_not_as_long_as_the_caller_thinks_is_refused_before_it_starts(
    channel, pair, sends, content_of, part, size
) -> None:
    digest = await channel.store(content_of(100))
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(sends(digest, size, part), ours)
    names, failed, _ = await gateway.last()
    assert names == ["failed"]
    assert failed.errors[0].code == "UNKNOWN"
    assert failed.errors[0].message == "the blob is not as long as its descriptor says"
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


@pytest.mark.parametrize("part", [(HEAD, -1, 5), (HEAD, 0, -5), (HEAD, -10, 10)])
async def test_negative_ranges_are_refused(channel, pair, sends, content_of, part) -> None:
    digest = await channel.store(content_of(100))
    gateway = await channel.connect()
    gateway.lend(sends(digest, 100, (HEAD, 0, 1), part), pair[0])
    names, failed, _ = await gateway.last()
    assert (names, failed.errors[0].code) == (["failed"], "UNKNOWN")


@pytest.mark.parametrize(("digest", "code"), [(UNKNOWN, "BLOB_UNKNOWN"), ("sha256:x", "DIGEST_INVALID")])
@pytest.mark.parametrize("length", [10, MIB])
async def test_a_blob_that_is_not_there_is_refused_before_it_starts(
    channel, pair, sends, digest, code, length
) -> None:
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(sends(digest, length, (HEAD, 0, length)), ours)
    names, failed, _ = await gateway.last()
    assert names == ["failed"]
    assert [error.code for error in failed.errors] == [code]
    assert failed.moved == 0
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    # The connection is as good as before.
    content = b"content"
    gateway.lend(sends(await channel.store(content), len(content), (HEAD, 0, len(content))), ours)
    assert (await gateway.last())[0] == ["started", "finished"]


async def test_a_client_that_takes_nothing_is_given_up(
    serve_channel, slow_pair, sends, content_of, receive_from
) -> None:
    channel = await serve_channel("blobtimeout: 300ms")
    content = content_of(8 * MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = slow_pair
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
    names, failed, _ = await gateway.last()
    assert names == ["started", "failed"]
    assert not failed.errors
    assert 0 < failed.moved < len(content)
    # What it says was written is what the client finds.
    assert await receive_from(theirs, len(HEAD) + failed.moved) == HEAD + content[: failed.moved]
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


async def test_a_client_that_goes_away_is_no_error(
    channel, slow_pair, sends, content_of, receive_from
) -> None:
    content = content_of(8 * MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = slow_pair
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
    await receive_from(theirs, 50_000)
    theirs.close()
    names, failed, _ = await gateway.last()
    assert names == ["started", "failed"]
    assert not failed.errors
    assert 0 < failed.moved < len(content)


async def test_slow_clients_hold_no_thread(channel, pair, sends, content_of, receive_from) -> None:
    """The server of these tests has four threads that send."""
    content = content_of(8 * MIB)
    digest = await channel.store(content)
    stuck = [socket.socketpair() for _ in range(12)]
    try:
        for ours, _ in stuck:
            ours.setblocking(False)
            (await channel.connect()).lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
        gateway = await channel.connect()
        ours, theirs = pair
        async with asyncio.timeout(10):
            gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
            assert await receive_from(theirs, len(HEAD) + len(content)) == HEAD + content
    finally:
        for ours, theirs in stuck:
            ours.close()
            theirs.close()


async def test_a_slow_client_gets_everything(channel, slow_pair, sends, content_of) -> None:
    content = content_of(MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = slow_pair
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
    received = b""
    while len(received) < len(HEAD) + len(content):
        received += await asyncio.get_running_loop().sock_recv(theirs, 16384)
        await asyncio.sleep(0.001)
    assert received == HEAD + content
    assert (await gateway.last())[1].moved == len(content)


@pytest.mark.parametrize("storage", ["filesystem"], indirect=True)
async def test_storage_that_fails_after_the_start_is_an_error(
    channel, tmp_path: Path, slow_pair, sends, content_of, receive_from
) -> None:
    content = content_of(8 * MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = slow_pair
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
    await receive_from(theirs, 10_000)
    (file,) = [each for each in tmp_path.rglob("data") if each.is_file()]
    os.truncate(file, 4 * MIB)
    rest = asyncio.create_task(receive_from(theirs, len(HEAD) + len(content)))
    names, failed, _ = await gateway.last()
    assert names == ["started", "failed"]
    assert [error.code for error in failed.errors] == ["UNAVAILABLE"]
    assert failed.moved == 4 * MIB
    ours.close()
    assert await rest == (HEAD + content[: 4 * MIB])[10_000:]


async def test_the_end_of_the_gateways_connection_ends_the_loan(
    channel, slow_pair, sends, content_of, descriptors, open_loans, receive_from, eventually
) -> None:
    content = content_of(8 * MIB)
    digest = await channel.store(content)
    before = descriptors()
    gateway = await channel.connect()
    ours, theirs = slow_pair
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
    await receive_from(theirs, 10_000)
    assert open_loans() == 1
    gateway.close()
    await eventually(lambda: descriptors() == before, "the descriptors are closed")
    assert open_loans() == 0
    # Nobody but the gateway has the client's connection now: its end is the end.
    ours.close()
    assert len(await receive_from(theirs, len(content))) < len(content)


async def test_the_clients_socket_is_left_as_it_was(channel, pair, sends, content_of, receive_from) -> None:
    content = content_of(MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
    await receive_from(theirs, len(HEAD) + len(content))
    await gateway.last()
    assert os.get_blocking(ours.fileno()) is False
    # Both go on using it.
    ours.send(b"next")
    assert await receive_from(theirs, 4) == b"next"


async def test_a_loan_that_is_worked_on_is_said_to_be(
    channel, slow_pair, sends, content_of, monkeypatch
) -> None:
    # Longer than storage takes to be ready.
    monkeypatch.setattr("blob_service.channel.loans._WORKING", 0.5)
    content = content_of(8 * MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), slow_pair[0])
    names = [str((await gateway.event())[0].WhichOneof("event")) for _ in range(4)]
    assert names == ["started", "working", "working", "working"]


async def test_loans_are_counted_by_work_and_outcome(channel, pair, sends, content_of, eventually) -> None:
    def count(outcome: str) -> float:
        return LOANS.labels("send", outcome)._value.get()

    finished, unknown = count("finished"), count("blob_unknown")
    moved = LOAN_BYTES.labels("send")._value.get()
    digest = await channel.store(content_of(1000))
    gateway = await channel.connect()
    gateway.lend(sends(digest, 1000, (HEAD, 0, 400)), pair[0])
    await gateway.last()
    gateway.lend(sends(UNKNOWN, 1000, (HEAD, 0, 400)), pair[0])
    await gateway.last()
    await eventually(lambda: count("blob_unknown") == unknown + 1, "counted")
    assert count("finished") == finished + 1
    assert LOAN_BYTES.labels("send")._value.get() == moved + 400


async def test_an_unexpected_error_is_one_word_to_the_gateway(
    channel, pair, sends, content_of, monkeypatch
) -> None:
    async def broken(*args: object) -> object:
        raise RuntimeError("secret")

    digest = await channel.store(content_of(10))
    monkeypatch.setattr(channel.contents.blobs, "read", broken)
    gateway = await channel.connect()
    gateway.lend(sends(digest, 10, (HEAD, 0, 10)), pair[0])
    names, failed, _ = await gateway.last()
    assert names == ["failed"]
    (error,) = failed.errors
    assert (error.code, error.message, error.detail_json) == ("UNKNOWN", "", "")


async def test_a_client_that_takes_less_than_it_must_is_given_up(
    serve_channel, slow_pair, sends, content_of
) -> None:
    channel = await serve_channel(more="http: {limits: {minimumrate: 10MB, ratewindow: 300ms}}")
    counted = SLOW_CLIENTS.labels("send")._value.get()
    content = content_of(8 * MIB)
    digest = await channel.store(content)
    gateway = await channel.connect()
    ours, theirs = slow_pair
    gateway.lend(sends(digest, len(content), (HEAD, 0, len(content))), ours)
    ours.close()
    last, taken = asyncio.ensure_future(gateway.last()), 0
    while not last.done():
        taken += len(await asyncio.get_running_loop().sock_recv(theirs, 4096))
        await asyncio.sleep(0.01)
    names, failed, _ = await last
    assert names == ["started", "failed"]
    assert failed.moved < len(content)
    assert SLOW_CLIENTS.labels("send")._value.get() == counted + 1
