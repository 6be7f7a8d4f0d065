"""How the supervisor sees that a child does its work."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import closing

from moorage import __version__
from moorage.rpc import Address, Security, open_channel
from moorage.rpc.health import is_serving
from moorage.supervisor.listener import Listener

# What a server says to a client that has no certificate: in TLS 1.3, and in TLS 1.2.
_WANTS_CERTIFICATE = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"})

# Seconds for one look; the next one follows soon.
PROBE_TIMEOUT = 2.0


async def rpc_is_ready(
    address: Address, *, timeout: float = PROBE_TIMEOUT, security: Security | None = None, name: str = ""
) -> bool:
    """Whether the gRPC service at the address says within `timeout` seconds that it is healthy.

    Over TCP, with `security`, only the service `name` is taken for it.
    """
    channel = open_channel(address, security, to=name)
    try:
        return await is_serving(channel, timeout=timeout)
    finally:
        await channel.close(None)


async def gateway_is_ready(
    listener: Listener, *, timeout: float = PROBE_TIMEOUT, agent: str = "moorage-up"
) -> bool:
    """Whether the registry answers the version check: 200, or 401 where it wants to know who asks.

    One that takes only clients with a certificate says no more than that, which is enough.
    """
    lines = (
        f"GET {listener.prefix}v2/ HTTP/1.1",
        f"Host: {listener.authority}",
        # It stands in the access log.
        f"User-Agent: {agent}/{__version__}",
        "Connection: close",
    )
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await listener.connect()
            with closing(writer):
                writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii"))
                status = await reader.readline()
    except ssl.SSLError as error:
        return error.reason in _WANTS_CERTIFICATE
    except (OSError, TimeoutError):
        return False
    return status.startswith((b"HTTP/1.1 200", b"HTTP/1.1 401"))


async def broker_is_ready(port: int) -> bool:
    """Whether a NATS server greets on this port of the loopback interface."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with closing(writer):
                return (await reader.readline()).startswith(b"INFO ")
    except (OSError, TimeoutError):
        return False
