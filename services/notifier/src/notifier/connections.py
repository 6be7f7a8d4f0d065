"""Connections to one endpoint: only where its policy allows, encrypted as it says, a few at a time.

Where a connection goes is judged when its socket is made, on the address that it will be connected to:
whatever a URL or a name says, however often the name's records change, nothing else is connected to.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from moorage.config import ConfigurationError
from moorage.config.endpoints import EndpointTLS
from moorage.public_addresses import is_public, parse_address

# Seconds that an idle connection is kept: less than servers usually do, so that few close it as it is used.
_KEEP_ALIVE = 4.0

# Seconds that what a name resolved to is used for.
_DNS_TTL = 10


class PrivateAddressError(OSError):
    """The endpoint's name leads to an address that is not public, and its policy is not to go there."""


class _Resolver(AbstractResolver):
    """The system's resolver, in a thread of this endpoint's own: a name server that hangs delays no other."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"dns-{name[:32]}")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host; raises OSError."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._thread,
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family),
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Use it no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def connector(name: str, *, allow_private: bool, tls: ssl.SSLContext, most: int) -> aiohttp.TCPConnector:
    """The connections of an endpoint, at most `most`."""
    return aiohttp.TCPConnector(
        resolver=_Resolver(name),
        ttl_dns_cache=_DNS_TTL,
        limit=most,
        ssl=tls,
        keepalive_timeout=_KEEP_ALIVE,
        socket_factory=_any_socket if allow_private else _public_socket,
    )


def _any_socket(info: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made


def _public_socket(info: AddrInfoType) -> socket.socket:
    host = str(info[4][0])
    address = parse_address(host)
    if address is None or not is_public(address):
        raise PrivateAddressError(f"{host} is not a public address, and allowprivate is not set")
    return _any_socket(info)


def tls_context(tls: EndpointTLS, key: str) -> ssl.SSLContext:
    """How an endpoint is verified, and what it is shown; raises ConfigurationError below `key`."""
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{key}.ca", f"{tls.ca}: {_words(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate:
        try:
            # A key with a passphrase must not make the service wait for somebody to type it.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{key}.certificate", f"{tls.certificate}: {_words(error)}") from error
    return context


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or "not certificates or a key in PEM")
