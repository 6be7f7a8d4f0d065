"""ReceiveLoan: a request's body, read from the client's own socket into an upload."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tracemalloc

import pytest

from blob_service.metrics import LOAN_BYTES
from moorage.digest import Digest

# Storage that shows what is written before it is flushed: by that these tests see how far a call is.
SHOWN_AT_ONCE = pytest.mark.parametrize("storage", ["filesystem", "inmemory"], indirect=True)


MIB = 1 << 20
NEXT = b"GET /v2/ HTTP/1.1\r\n\r\n"


async def send_all(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


@pytest.mark.parametrize("size", [0, 1000, 3 * MIB + 1])
@pytest.mark.parametrize("in_tail", [0, 7, 100_000])
@pytest.mark.parametrize("framing", ["counted", "chunked"])
async def test_a_body_is_appended_wherever_its_bytes_are(
    channel, pair, receives, chunked, content_of, size, in_tail, framing
) -> None:
    content = content_of(size)
    upload = await channel.upload()
    body = content if framing == "counted" else chunked(content)
    length = size if framing == "counted" else None
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(receives(upload, length=length), ours, tail=body[:in_tail])
    await send_all(theirs, body[in_tail:])
    names, finished, rest = await gateway.last()
    assert (names, rest) == (["finished"], b"")
    assert (finished.moved, finished.appended.offset) == (size, size)
    assert finished.appended.key.id == upload.id
    assert await channel.offset(upload) == size


@pytest.mark.parametrize("framing", ["counted", "chunked"])
async def test_a_body_can_be_committed(
    channel, pair, receives, chunked, content_of, digest_of, framing
) -> None:
    content = content_of(2 * MIB + 17)
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(receives(upload, length=MIB), ours)
    await send_all(theirs, content[:MIB])
    assert (await gateway.last())[1].appended.offset == MIB
    rest = content[MIB:]
    body = rest if framing == "counted" else chunked(rest, 1000)
    length = len(rest) if framing == "counted" else None
    gateway.lend(receives(upload, digest=digest_of(content), offset=MIB, length=length), ours)
    await send_all(theirs, body)
    names, finished, _ = await gateway.last()
    assert names == ["finished"]
    assert finished.moved == len(rest)
    assert (finished.committed.digest, finished.committed.size) == (digest_of(content), len(content))
    async with await channel.contents.blobs.read(_digest(content), 0, None) as reader:
        assert b"".join([chunk async for chunk in reader]) == content


def _digest(content: bytes) -> Digest:

    return Digest.of(content)


@pytest.mark.parametrize("in_tail", [0, 10, 10_000_000])
async def test_what_was_read_behind_a_chunked_body_comes_back(
    channel, pair, receives, chunked, content_of, in_tail
) -> None:
    content = content_of(5000)
    stream = chunked(content, 999, b"x-trailer: dropped\r\n") + NEXT
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, theirs = pair
    # All of it is there when the loan begins, so that it can be read in one go.
    await send_all(theirs, stream[in_tail:])
    gateway.lend(receives(upload), ours, tail=stream[:in_tail])
    _, finished, rest = await gateway.last()
    assert (finished.moved, rest) == (5000, NEXT)
    assert await channel.offset(upload) == 5000


async def test_nothing_is_read_behind_a_counted_body(
    channel, pair, receives, content_of, receive_from
) -> None:
    content = content_of(MIB + 5)
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, theirs = pair
    sending = asyncio.create_task(send_all(theirs, content + NEXT))
    gateway.lend(receives(upload, length=len(content)), ours)
    _, finished, rest = await gateway.last()
    assert (finished.moved, rest) == (len(content), b"")
    await sending
    # The gateway finds the next request where it was.
    assert await receive_from(ours, len(NEXT)) == NEXT


async def test_what_the_tail_has_behind_a_counted_body_comes_back(channel, pair, receives) -> None:
    upload = await channel.upload()
    gateway = await channel.connect()
    gateway.lend(receives(upload, length=4), pair[0], tail=b"body" + NEXT)
    _, finished, rest = await gateway.last()
    assert (finished.moved, rest) == (4, NEXT)


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("commit", [False, True])
async def test_what_came_before_a_client_left_is_kept_and_never_committed(
    channel, pair, receives, chunked, content_of, digest_of, framing, commit
) -> None:
    content = content_of(2 * MIB)
    upload = await channel.upload()
    body = content if framing == "counted" else chunked(content)
    # The digest is right for what comes: only the end of the body is missing.
    missing = 1 if framing == "counted" else 5
    loan = receives(
        upload,
        digest=digest_of(content) if commit else "",
        length=len(content) + 1 if framing == "counted" else None,
    )
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(loan, ours)
    await send_all(theirs, body if framing == "counted" else body[:-missing])
    theirs.shutdown(socket.SHUT_WR)
    names, failed, _ = await gateway.last()
    assert names == ["failed"]
    assert not failed.errors
    assert not failed.untouched
    assert not failed.body_ended
    assert failed.moved == len(content)
    assert await channel.offset(upload) == len(content)
    assert await channel.contents.blobs.stat([_digest(content)]) == []


async def test_a_malformed_body_is_refused_and_what_came_before_is_kept(channel, pair, receives) -> None:
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(receives(upload), ours, tail=b"4\r\ngood\r\n")
    await send_all(theirs, b"4\r\nnice\r\nZ\r\nbad\r\n0\r\n\r\n")
    names, failed, rest = await gateway.last()
    assert (names, rest) == (["failed"], b"")
    (error,) = failed.errors
    assert (error.code, error.http_status) == ("UNSUPPORTED", 400)
    assert error.message.startswith("malformed body: ")
    assert (failed.untouched, failed.body_ended, failed.moved) == (False, False, 8)
    assert await channel.offset(upload) == 8


async def test_a_malformed_tail_is_not_untouched(channel, pair, receives) -> None:
    upload = await channel.upload()
    gateway = await channel.connect()
    gateway.lend(receives(upload), pair[0], tail=b"no chunk\r\n")
    _, failed, _ = await gateway.last()
    assert not failed.untouched
    assert failed.errors[0].code == "UNSUPPORTED"


async def test_a_body_that_stands_still_is_refused(serve_channel, pair, receives) -> None:
    channel = await serve_channel("blobtimeout: 200ms")
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, theirs = pair
    await send_all(theirs, b"0123")
    gateway.lend(receives(upload, length=10), ours)
    _, failed, _ = await gateway.last()
    (error,) = failed.errors
    assert (error.code, error.http_status) == ("SIZE_INVALID", 408)
    assert error.message == "the body did not arrive in time"
    assert (failed.moved, failed.untouched) == (4, False)
    assert await channel.offset(upload) == 4


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("BLOB_UPLOAD_UNKNOWN", {"id": "nobody"}),
        ("RANGE_INVALID", {"offset": 7}),
        ("NAME_INVALID", {"repository": "Not a name"}),
        ("DIGEST_INVALID", {"digest": "sha256:x"}),
    ],
)
async def test_an_upload_that_refuses_leaves_the_body_where_it_is(
    channel, pair, receives, code, change, receive_from
) -> None:
    upload = await channel.upload()
    loan = receives(upload, digest=change.get("digest", ""), offset=change.get("offset", 0), length=8)
    if not change.get("digest"):
        loan.receive.append.key.id = change.get("id", upload.id)
        loan.receive.append.key.repository = change.get("repository", upload.repository)
    gateway = await channel.connect()
    ours, theirs = pair
    await send_all(theirs, b"body")
    gateway.lend(loan, ours, tail=b"more")
    names, failed, rest = await gateway.last()
    assert (names, rest) == (["failed"], b"")
    assert [error.code for error in failed.errors] == [code]
    assert failed.untouched
    assert not failed.body_ended
    # The gateway reads on where it stopped.
    assert await receive_from(ours, 4) == b"body"


async def test_an_upload_over_the_limit_is_refused_before_it_is_read(serve_channel, pair, receives) -> None:
    channel = await serve_channel(more="http: {limits: {uploadsize: 100}}")
    upload = await channel.upload()
    gateway = await channel.connect()
    gateway.lend(receives(upload, length=101), pair[0])
    _, failed, _ = await gateway.last()
    assert (failed.errors[0].code, failed.errors[0].http_status) == ("SIZE_INVALID", 413)
    assert failed.untouched


async def test_a_body_that_was_read_to_its_end_is_said_to_be_when_it_is_refused(
    channel, pair, receives, digest_of
) -> None:
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(receives(upload, digest=digest_of(b"other")), ours)
    await send_all(theirs, b"4\r\nbody\r\n0\r\n\r\n" + NEXT)
    _, failed, rest = await gateway.last()
    assert [error.code for error in failed.errors] == ["DIGEST_INVALID"]
    assert failed.body_ended
    assert not failed.untouched
    assert rest == NEXT


async def test_a_loan_without_framing_is_refused(channel, pair, receives) -> None:
    upload = await channel.upload()
    loan = receives(upload)
    loan.receive.ClearField("framing")
    gateway = await channel.connect()
    gateway.lend(loan, pair[0])
    _, failed, _ = await gateway.last()
    assert failed.errors[0].code == "BLOB_UPLOAD_INVALID"
    assert json.loads(failed.errors[0].detail_json) == {"reason": "the loan has no framing"}
    assert failed.untouched


@SHOWN_AT_ONCE
async def test_the_end_of_the_gateways_connection_keeps_what_came(
    channel, pair, receives, content_of, descriptors, open_loans, eventually
) -> None:
    content = content_of(MIB)
    upload = await channel.upload()
    before = descriptors()
    gateway = await channel.connect()
    ours, theirs = pair
    gateway.lend(receives(upload, length=10 * MIB), ours)
    await send_all(theirs, content)

    async def stored() -> bool:
        return await channel.offset(upload) == MIB

    await eventually(stored, "the body so far is stored")
    gateway.close()
    await eventually(lambda: descriptors() == before, "the descriptors are closed")
    assert open_loans() == 0
    assert await channel.offset(upload) == MIB
    # The upload is free for the next call.
    again = await channel.connect()
    again.lend(receives(upload, offset=MIB, length=4), ours)
    await send_all(theirs, b"more")
    assert (await again.last())[1].appended.offset == MIB + 4


@SHOWN_AT_ONCE
async def test_two_loans_of_one_upload_take_turns(channel, receives, eventually) -> None:
    upload = await channel.upload()
    first, second = await channel.connect(), await channel.connect()
    (ours, theirs), (other, _) = socket.socketpair(), socket.socketpair()
    with ours, theirs, other, _:
        ours.setblocking(False)
        theirs.setblocking(False)
        other.setblocking(False)
        first.lend(receives(upload, length=8), ours, tail=b"0123")

        async def stored() -> bool:
            return await channel.offset(upload) == 4

        await eventually(stored, "the first one has the upload")
        second.lend(receives(upload, length=4), other, tail=b"late")
        await asyncio.sleep(0.05)
        await send_all(theirs, b"4567")
        assert (await first.last())[1].appended.offset == 8
        _, failed, _ = await second.last()
        assert failed.errors[0].code == "RANGE_INVALID"
        assert json.loads(failed.errors[0].detail_json) == {"offset": 8}
        assert failed.untouched


async def test_a_long_commit_is_said_to_go_on(channel, pair, receives, digest_of, monkeypatch) -> None:
    monkeypatch.setattr("blob_service.channel.loans._WORKING", 0.03)
    upload = await channel.upload()
    committed = asyncio.Event()
    adopt = channel.contents.blobs.adopt

    async def slowly(*args):
        await committed.wait()
        return await adopt(*args)

    monkeypatch.setattr(channel.contents.blobs, "adopt", slowly)
    gateway = await channel.connect()
    gateway.lend(receives(upload, digest=digest_of(b"body"), length=4), pair[0], tail=b"body")
    for _ in range(3):
        assert (await gateway.event())[0].WhichOneof("event") == "working"
    committed.set()
    assert (await gateway.last())[1].committed.digest == digest_of(b"body")


@pytest.mark.parametrize("storage", ["filesystem"], indirect=True)
async def test_a_loan_takes_little_memory_and_holds_none_afterwards(
    channel, pair, receives, chunked, content_of, eventually
) -> None:
    content = content_of(16 * MIB)
    body = chunked(content, 70_000)
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, theirs = pair
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        gateway.lend(receives(upload), ours)
        await send_all(theirs, body)
        await gateway.last()
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < 5 * MIB
        await eventually(
            lambda: tracemalloc.get_traced_memory()[0] - before < MIB // 2, "the buffers are gone"
        )
    finally:
        tracemalloc.stop()
    assert await channel.offset(upload) == len(content)


async def test_the_clients_socket_stays_non_blocking(channel, pair, receives) -> None:
    upload = await channel.upload()
    gateway = await channel.connect()
    ours, _ = pair
    gateway.lend(receives(upload, length=4), ours, tail=b"body")
    await gateway.last()
    assert os.get_blocking(ours.fileno()) is False


async def test_received_bytes_are_counted(channel, pair, receives) -> None:
    before = LOAN_BYTES.labels("receive")._value.get()
    gateway = await channel.connect()
    gateway.lend(receives(await channel.upload()), pair[0], tail=b"4\r\nbody\r\n0\r\n\r\n")
    await gateway.last()
    assert LOAN_BYTES.labels("receive")._value.get() == before + 4
