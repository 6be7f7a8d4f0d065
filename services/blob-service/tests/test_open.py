"""BlobStore.Open: tickets for the data port."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from blob_service.tickets import LIFETIME
from moorage.rpc import unary
from moorage.v1 import blob_pb2

LOAN = blob_pb2.Loan(send=blob_pb2.SendLoan(digest="sha256:" + "0" * 64, size=1))


@pytest.fixture
def free_address() -> Callable[[], str]:
    """An address of this host that nobody has at the moment."""

    def find() -> str:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return f"127.0.0.1:{listener.getsockname()[1]}"

    return find


async def test_a_ticket_is_for_the_data_port(storage, serve, free_address) -> None:
    service = await serve(storage, "services: {blob: {dataport: 4000}}", address=free_address())
    opened = await unary(service.blobs.Open, blob_pb2.OpenRequest(loan=LOAN), timeout=10)
    assert (opened.port, opened.expires_in) == (4000, LIFETIME)
    assert len(opened.ticket) >= 32


@pytest.mark.parametrize("blob", ["dataport: 0", "dataport: 4000, channel: off"])
async def test_without_a_data_port_there_are_no_tickets(storage, serve, refused, free_address, blob) -> None:
    service = await serve(storage, f"services: {{blob: {{{blob}}}}}", address=free_address())
    with refused("UNSUPPORTED"):
        await unary(service.blobs.Open, blob_pb2.OpenRequest(loan=LOAN), timeout=10)


async def test_a_service_at_a_unix_socket_has_no_data_port(storage, serve, refused) -> None:
    service = await serve(storage, "services: {blob: {dataport: 4000}}")
    with refused("UNSUPPORTED"):
        await unary(service.blobs.Open, blob_pb2.OpenRequest(loan=LOAN), timeout=10)


@pytest.mark.parametrize("loan", [blob_pb2.Loan(), blob_pb2.Loan(ticket=b"x")])
async def test_a_ticket_is_for_sending_or_receiving(storage, serve, refused, free_address, loan) -> None:
    service = await serve(storage, "services: {blob: {dataport: 4000}}", address=free_address())
    with refused("UNSUPPORTED"):
        await unary(service.blobs.Open, blob_pb2.OpenRequest(loan=loan), timeout=10)
