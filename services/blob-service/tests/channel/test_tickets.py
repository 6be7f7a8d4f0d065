"""Tickets: a loan whose connection stands for the client's."""

from __future__ import annotations

import asyncio
import struct

import pytest

from blob_service import tickets as tickets_module
from blob_service.channel import loans as loans_module
from blob_service.channel import server as server_module
from blob_service.tickets import LIFETIME, Tickets
from moorage.channel import pack_frame
from moorage.errors import RegistryError
from moorage.v1 import blob_pb2

MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
NEXT = b"GET /v2/ HTTP/1.1\r\n\r\n"


async def redeem(channel, loan: blob_pb2.Loan, tail: bytes = b""):
    """A connection that has redeemed a ticket for a loan."""
    gateway = await channel.connect()
    ticket = channel.contents.tickets.issue(loan)
    gateway.lend(blob_pb2.Loan(request_id="test", ticket=ticket), tail=tail)
    return gateway


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The tickets' clock: its one entry is the time."""
    now = [1000.0]
    monkeypatch.setattr(tickets_module, "boot_seconds", lambda: now[0])
    return now


def test_a_ticket_is_of_one_use_and_hard_to_guess(sends) -> None:
    tickets = Tickets()
    loan = sends("sha256:x", 1, (b"", 0, 1))
    one, other = tickets.issue(loan), tickets.issue(loan)
    assert one != other
    assert len(one) >= 32
    assert tickets.redeem(one) == loan
    with pytest.raises(RegistryError, match="DENIED"):
        tickets.redeem(one)
    with pytest.raises(RegistryError, match="DENIED"):
        tickets.redeem(b"")
    assert tickets.redeem(other) == loan


def test_a_ticket_expires(clock, sends) -> None:
    tickets = Tickets()
    early, late = tickets.issue(sends("x", 1)), tickets.issue(sends("x", 1))
    clock[0] += LIFETIME - 1
    tickets.redeem(early)
    clock[0] += 1
    with pytest.raises(RegistryError, match="DENIED"):
        tickets.redeem(late)


def test_expired_tickets_make_place_for_others(clock, monkeypatch, sends) -> None:
    monkeypatch.setattr(tickets_module, "_MOST", 3)
    tickets = Tickets()
    for _ in range(3):
        tickets.issue(sends("x", 1))
    with pytest.raises(RegistryError, match="TOOMANYREQUESTS"):
        tickets.issue(sends("x", 1))
    clock[0] += LIFETIME
    tickets.issue(sends("x", 1))
    assert len(tickets) == 1


def test_a_loan_that_fits_no_frame_has_no_ticket(sends) -> None:
    tickets = Tickets()
    with pytest.raises(RegistryError) as caught:
        tickets.issue(sends("x", 1, (b"h" * (300 * 1024), 0, 1)))
    assert caught.value.http_status == 413


@pytest.mark.parametrize("size", [0, 1000, 3 * MIB + 1])
async def test_a_blob_comes_between_two_events(port_channel, sends, content_of, size) -> None:
    content = content_of(size)
    digest = await port_channel.store(content)
    gateway = await redeem(port_channel, sends(digest, size, (HEAD, 0, size), tail=b"--end--"))
    event, _ = await gateway.event(exact=True)
    assert event.WhichOneof("event") == "started"
    expected = HEAD + content + b"--end--"
    assert await gateway.receive(len(expected)) == expected
    names, finished, _ = await gateway.last()
    assert (names, finished.moved) == (["finished"], size)
    assert await gateway.closed()


async def test_what_is_refused_before_the_start_is_an_event(port_channel, sends) -> None:
    gateway = await redeem(port_channel, sends("sha256:" + "0" * 64, 10, (HEAD, 0, 10)))
    names, failed, _ = await gateway.last()
    assert names == ["failed"]
    assert failed.errors[0].code == "BLOB_UNKNOWN"


async def test_what_fails_after_the_start_ends_the_connection_without_a_byte_that_is_none_of_the_blobs(
    port_channel, sends, content_of, monkeypatch
) -> None:
    content = content_of(8 * MIB)
    digest = await port_channel.store(content)

    async def fails(*args: object, **options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("blob_service.channel.client.Client.send_file", fails)
    monkeypatch.setattr("blob_service.channel.sending.Sending._send_chunks", fails_after_head)
    gateway = await redeem(port_channel, sends(digest, len(content), (HEAD, 0, len(content))))
    event, _ = await gateway.event(exact=True)
    assert event.WhichOneof("event") == "started"
    assert await gateway.receive(len(content)) == HEAD


async def fails_after_head(sending, digest, reader) -> None:
    await sending._start()
    await sending._client.send(HEAD)
    raise RegistryError(loans_module.ErrorCode.UNAVAILABLE)


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("size", [0, 1000, 2 * MIB + 1])
@pytest.mark.parametrize("in_tail", [0, 100, 10_000_000])
async def test_a_body_is_received_and_what_came_behind_it_returned(
    port_channel, receives, chunked, content_of, framing, size, in_tail
) -> None:
    content = content_of(size)
    upload = await port_channel.upload()
    counted = framing == "counted"
    stream = (content if counted else chunked(content)) + NEXT
    loan = receives(upload, length=size if counted else None)
    gateway = await redeem(port_channel, loan, tail=stream[:in_tail])
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(loop.sock_sendall(gateway.socket, stream[in_tail:]))
    event, _ = await gateway.event()
    assert event.WhichOneof("event") == "body_ended"
    await sending
    await loop.sock_sendall(gateway.socket, b"more")
    gateway.socket.shutdown(1)
    names, finished, rest = await gateway.last()
    assert names == ["finished"]
    assert (finished.moved, finished.appended.offset) == (size, size)
    assert rest == NEXT + b"more"
    assert await gateway.closed()


async def test_an_empty_body_of_a_refused_upload_has_ended_as_well(port_channel, receives) -> None:
    upload = await port_channel.upload()
    gateway = await redeem(port_channel, receives(upload, offset=5, length=0))
    event, _ = await gateway.event()
    assert event.WhichOneof("event") == "body_ended"
    gateway.socket.shutdown(1)
    _, failed, _ = await gateway.last()
    assert failed.errors[0].code == "RANGE_INVALID"
    assert failed.body_ended
    assert failed.untouched


async def test_a_refusal_in_mid_body_reaches_who_still_sends(port_channel, receives) -> None:
    """Closing a connection with unread bytes resets it, and a reset destroys what was sent."""
    upload = await port_channel.upload()
    gateway = await redeem(port_channel, receives(upload, offset=5, length=100 * MIB))
    loop = asyncio.get_running_loop()
    for _ in range(10):
        await loop.sock_sendall(gateway.socket, bytes(100_000))
        await asyncio.sleep(0.01)
    names, failed, _ = await gateway.last()
    assert names == ["failed"]
    assert failed.errors[0].code == "RANGE_INVALID"
    # Nothing of it was read: the gateway knows how much it had passed on.
    assert failed.untouched
    assert not failed.body_ended


async def test_a_gateway_that_ends_in_mid_body_keeps_what_came(
    port_channel, receives, content_of, eventually
) -> None:
    upload = await port_channel.upload()
    gateway = await redeem(port_channel, receives(upload, length=100), tail=b"0123")
    gateway.close()

    async def stored() -> bool:
        return await port_channel.offset(upload) == 4

    await eventually(stored, "what came is kept")


async def test_a_gateway_that_does_not_end_its_side_is_left(port_channel, receives, monkeypatch) -> None:
    monkeypatch.setattr(loans_module, "_END_SECONDS", 0.1)
    upload = await port_channel.upload()
    gateway = await redeem(port_channel, receives(upload, length=4), tail=b"body")
    event, _ = await gateway.event()
    assert event.WhichOneof("event") == "body_ended"
    assert await gateway.closed()
    assert await port_channel.offset(upload) == 4


async def test_more_behind_a_body_than_can_be_returned_ends_the_connection(
    port_channel, receives, monkeypatch
) -> None:
    monkeypatch.setattr(loans_module, "MAX_TAIL", 1000)
    upload = await port_channel.upload()
    gateway = await redeem(port_channel, receives(upload, length=4), tail=b"body" + b"x" * 500)
    event, _ = await gateway.event()
    assert event.WhichOneof("event") == "body_ended"
    await asyncio.get_running_loop().sock_sendall(gateway.socket, b"x" * 501)
    assert await gateway.closed()


@pytest.mark.parametrize("ticket", [b"", b"x", b"x" * 32, b"x" * 900])
async def test_what_is_no_ticket_is_denied(port_channel, ticket, monkeypatch) -> None:
    monkeypatch.setattr(loans_module, "_END_SECONDS", 0.1)
    gateway = await port_channel.connect()
    gateway.lend(blob_pb2.Loan(ticket=ticket), tail=b"body")
    names, failed, _ = await gateway.last()
    assert names == ["failed"]
    assert [error.code for error in failed.errors] == ["DENIED"]
    assert await gateway.closed()


async def test_a_ticket_that_was_used_or_has_expired_is_denied(
    port_channel, sends, content_of, clock, monkeypatch
) -> None:
    monkeypatch.setattr(loans_module, "_END_SECONDS", 0.1)
    digest = await port_channel.store(content_of(10))
    used = port_channel.contents.tickets.issue(sends(digest, 10, (HEAD, 0, 10)))
    expired = port_channel.contents.tickets.issue(sends(digest, 10, (HEAD, 0, 10)))
    gateway = await port_channel.connect()
    gateway.lend(blob_pb2.Loan(ticket=used))
    await gateway.receive(10)
    clock[0] += LIFETIME
    for ticket in (used, expired):
        gateway = await port_channel.connect()
        gateway.lend(blob_pb2.Loan(ticket=ticket))
        _, failed, _ = await gateway.last()
        assert failed.errors[0].code == "DENIED"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!II", 1025, 0),
        struct.pack("!II", 10, 1 << 30),
        pack_frame(blob_pb2.Loan()),
        pack_frame(blob_pb2.Loan(send=blob_pb2.SendLoan(digest="sha256:" + "0" * 64))),
    ],
)
async def test_what_is_no_ticket_loan_is_refused_at_a_data_port(port_channel, data) -> None:
    gateway = await port_channel.connect()
    gateway.send(data)
    assert await gateway.closed()


async def test_whoever_has_no_ticket_sends_no_tail_into_memory(port_channel, monkeypatch) -> None:
    """The message ends the reading: the 4 MiB that were announced behind it are not waited for."""
    monkeypatch.setattr(loans_module, "_END_SECONDS", 0.1)
    gateway = await port_channel.connect()
    message = blob_pb2.Loan(ticket=b"x" * 32).SerializeToString()
    gateway.send(struct.pack("!II", len(message), 4 << 20) + message)
    _, failed, _ = await gateway.last()
    assert failed.errors[0].code == "DENIED"


async def test_whoever_sends_no_ticket_is_left_soon_and_keeps_few_others_out(
    port_channel, monkeypatch, sends, content_of
) -> None:
    monkeypatch.setattr(server_module, "_TICKET_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "_MOST_WITHOUT_TICKET", 2)
    silent = [await port_channel.connect() for _ in range(2)]
    assert await (await port_channel.connect()).closed()
    for each in silent:
        assert await each.closed()
    monkeypatch.undo()
    digest = await port_channel.store(content_of(10))
    gateway = await redeem(port_channel, sends(digest, 10, (HEAD, 0, 10)))
    assert (await gateway.event(exact=True))[0].WhichOneof("event") == "started"
