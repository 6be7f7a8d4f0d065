"""The data port over mutual TLS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from blob_service.channel import server as server_module
from moorage.channel import Tunnels, dial
from moorage.rpc import Security
from moorage.v1 import blob_pb2
from support.tls import Certificates

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("services"))
    made.of_services("gateway", "blob", "metadata", "notifier", "operator")
    return made


@pytest.fixture
async def secured(serve_channel, certificates):
    """The data channel on a data port that speaks TLS."""
    return await serve_channel(tcp=True, security=certificates.security("blob"))


@pytest.fixture
async def tunnels() -> AsyncIterator[Tunnels]:
    made = Tunnels()
    yield made
    await made.close()


async def connect(channel, tunnels: Tunnels, of: Security):
    """A connection to the data port as the service that `of` is, over TLS."""
    gateway = await channel.connect()
    tunnel = await dial(gateway.socket, of.client_context, "blob.moorage", seconds=5)
    gateway.socket = tunnels.near_end(tunnel)
    channel._exits.callback(gateway.socket.close)
    return gateway


async def test_a_gateway_redeems_a_ticket(secured, certificates, tunnels, sends) -> None:
    content = os.urandom(3_000_001)
    loan = sends(await secured.store(content), len(content), (HEAD, 0, len(content)))
    gateway = await connect(secured, tunnels, certificates.security("gateway"))
    gateway.lend(blob_pb2.Loan(request_id="test", ticket=secured.contents.tickets.issue(loan)))
    event, _ = await gateway.event(exact=True)
    assert event.WhichOneof("event") == "started"
    assert await gateway.receive(len(HEAD) + len(content)) == HEAD + content
    names, finished, _ = await gateway.last()
    assert (names, finished.moved) == (["finished"], len(content))
    assert await gateway.closed()


@pytest.mark.parametrize("service", ["metadata", "notifier", "blob", "operator"])
async def test_any_other_service_is_cut_off_with_a_ticket_too(
    secured, certificates, tunnels, sends, service: str
) -> None:
    def refused() -> float:
        return REGISTRY.get_sample_value("moorage_rpc_refused_total", {"method": "the data port"}) or 0.0

    before = refused()
    loan = sends(await secured.store(b"secret"), 6, (HEAD, 0, 6))
    gateway = await connect(secured, tunnels, certificates.security(service))
    gateway.lend(blob_pb2.Loan(request_id="test", ticket=secured.contents.tickets.issue(loan)))
    assert await gateway.closed()
    assert refused() == before + 1
    assert len(secured.contents.tickets) == 1, "the ticket was not redeemed"


async def test_a_ticket_in_the_clear_is_not_read(secured, sends) -> None:
    loan = sends(await secured.store(b"secret"), 6, (HEAD, 0, 6))
    gateway = await secured.connect()
    gateway.lend(blob_pb2.Loan(request_id="test", ticket=secured.contents.tickets.issue(loan)))
    # TLS may say why before it closes.
    answer = await gateway.receive(1000)
    assert b"secret" not in answer
    assert len(secured.contents.tickets) == 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_connections_without_a_handshake_have_their_own_bound_and_an_end(
    secured, certificates, tunnels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_TICKET_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "_MOST_WITHOUT_TICKET", 3)
    silent = [await secured.connect() for _ in range(3)]
    await until(lambda: len(secured.server._idle) == 3)
    assert await (await secured.connect()).closed(), "one too many"
    assert all(await asyncio.gather(*(each.closed() for each in silent)))
    await until(lambda: not secured.server._idle)
    gateway = await connect(secured, tunnels, certificates.security("gateway"))
    assert await gateway.closed(), "without a ticket in time"


async def test_a_renewed_certificate_is_shown_to_the_next_gateway(
    serve_channel, tmp_path: Path, tunnels
) -> None:
    own = Certificates(tmp_path / "own")
    own.of_services("gateway", "blob")
    server, client = own.security("blob"), own.security("gateway")
    channel = await serve_channel(tcp=True, security=server)
    shown = []
    for _ in range(2):
        connection = await channel.connect()
        tunnel = await dial(connection.socket, client.client_context, "blob.moorage", seconds=5)
        shown.append(tunnel._writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        tunnel.abort()
        own.renew("blob", "blob.moorage")
        server.check()
    assert shown[0] != shown[1]
