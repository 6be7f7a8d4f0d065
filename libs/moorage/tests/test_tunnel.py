"""The data channel over TLS: what arrives, what an end looks like, and who gets through."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from moorage.channel import Tunnel, Tunnels, answer, dial
from moorage.rpc import Security
from moorage.rpc.security import ForbiddenCallError, check_data_port_caller
from support.tls import Certificates

SERVICES = ("gateway", "blob", "metadata", "notifier", "operator")
SECONDS = 5.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("services"))
    made.of_services(*SERVICES)
    return made


async def connected() -> tuple[socket.socket, socket.socket]:
    """A TCP connection's two ends; neither blocks."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.socket()
        near.setblocking(False)
        listener.setblocking(False)
        connecting = asyncio.ensure_future(loop.sock_connect(near, listener.getsockname()))
        far, _ = await loop.sock_accept(listener)
        await connecting
    far.setblocking(False)
    return near, far


async def handshaken(client: Security, server: Security, *, name: str = "blob.moorage") -> list[Tunnel]:
    """Both ends of a tunnel. Raises OSError when the client does not get through."""
    near, far = await connected()
    both = await asyncio.gather(
        dial(near, client.client_context, name, seconds=SECONDS),
        answer(far, server.server_context, seconds=SECONDS),
        return_exceptions=True,
    )
    failures = [each for each in both if isinstance(each, BaseException)]
    if failures:
        for each in both:
            if isinstance(each, Tunnel):
                each.abort()
        raise failures[0]
    return [each for each in both if isinstance(each, Tunnel)]


@asynccontextmanager
async def tunnelled(
    certificates: Certificates,
) -> AsyncIterator[tuple[socket.socket, socket.socket, Tunnel]]:
    """The two sockets that stand for a tunnel, and its gateway's end."""
    ends = await handshaken(certificates.security("gateway"), certificates.security("blob"))
    tunnels = Tunnels()
    near, far = (tunnels.near_end(end) for end in ends)
    try:
        yield near, far, ends[0]
    finally:
        near.close()
        far.close()
        await tunnels.close()


async def read_all(connection: socket.socket) -> bytes:
    received = bytearray()
    async with asyncio.timeout(SECONDS):
        while data := await asyncio.get_running_loop().sock_recv(connection, 1 << 20):
            received += data
    return bytes(received)


async def test_every_byte_arrives_both_ways_at_once_and_each_end_is_told(certificates) -> None:
    loop = asyncio.get_running_loop()
    there, back = os.urandom(3_000_001), os.urandom(2_000_003)

    async def send(connection: socket.socket, content: bytes) -> None:
        await loop.sock_sendall(connection, content)
        connection.shutdown(socket.SHUT_WR)

    async with tunnelled(certificates) as (near, far, _):
        _, _, arrived, came_back = await asyncio.gather(
            send(near, there), send(far, back), read_all(far), read_all(near)
        )
    assert (arrived, came_back) == (there, back)


async def test_one_side_may_end_and_still_listen(certificates) -> None:
    loop = asyncio.get_running_loop()
    async with tunnelled(certificates) as (near, far, _):
        near.shutdown(socket.SHUT_WR)
        assert await read_all(far) == b""
        await loop.sock_sendall(far, b"answer")
        far.close()
        assert await read_all(near) == b"answer"


async def test_who_takes_nothing_holds_up_the_sender(certificates) -> None:
    loop = asyncio.get_running_loop()
    async with tunnelled(certificates) as (near, _far, _):
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while sent < 64 << 20:
                    await loop.sock_sendall(near, bytes(1 << 20))
                    sent += 1 << 20
        # What the buffers of two sockets and of TLS take, on both sides.
        assert sent < 32 << 20


async def send_for_ever(connection: socket.socket) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            await asyncio.get_running_loop().sock_sendall(connection, bytes(1 << 16))


async def test_a_side_that_is_gone_ends_the_other(certificates) -> None:
    async with tunnelled(certificates) as (near, far, _):
        near.close()
        with pytest.raises(ConnectionError):
            await send_for_ever(far)


async def test_a_connection_that_was_cut_off_does_not_go_on(certificates) -> None:
    async with tunnelled(certificates) as (near, far, end):
        await asyncio.get_running_loop().sock_sendall(near, b"half")
        assert await asyncio.get_running_loop().sock_recv(far, 4) == b"half"
        end.abort()
        assert await read_all(far) == b""
        assert await read_all(near) == b""


async def test_the_names_in_the_other_s_certificate_are_told(certificates) -> None:
    ends = await handshaken(certificates.security("gateway"), certificates.security("blob"))
    assert [end.names for end in ends] == [{"blob.moorage"}, {"gateway.moorage"}]
    for end in ends:
        end.abort()


@pytest.mark.parametrize("service", SERVICES)
def test_a_data_port_takes_gateways_only(service: str) -> None:
    if service == "gateway":
        check_data_port_caller({"gateway.moorage"})
        return
    with pytest.raises(ForbiddenCallError):
        check_data_port_caller({f"{service}.moorage", "gateway.example"})


async def test_a_gateway_talks_to_blob_services_only(certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshaken(certificates.security("gateway"), certificates.security("metadata"))


async def test_who_is_of_another_authority_gets_nowhere(certificates, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path / "stranger")
    stranger.of_services("gateway", "blob")
    with pytest.raises(ssl.SSLError):
        await handshaken(stranger.security("gateway"), certificates.security("blob"))
    with pytest.raises(ssl.SSLError):
        await handshaken(certificates.security("gateway"), stranger.security("blob"))


async def test_a_handshake_that_does_not_come_is_given_up(certificates) -> None:
    near, far = await connected()
    with near, pytest.raises(OSError):  # noqa: PT011  ConnectionAbortedError or TimeoutError
        async with asyncio.timeout(SECONDS):
            await answer(far, certificates.security("blob").server_context, seconds=0.2)
