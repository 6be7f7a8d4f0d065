"""Where the gateway will listen: to see that it is free, to probe it, to name it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from moorage.config import Configuration, join_host_port, split_host_port


@dataclass(frozen=True, slots=True)
class Listener:
    """The gateway's address: `path` for a unix socket, else `host` (empty for every interface) and `port`."""

    host: str = ""
    port: int = 0
    path: str = ""
    prefix: str = "/"
    tls: bool = False

    @classmethod
    def of(cls, config: Configuration) -> Listener:
        """The listener that `http.net` and `http.addr` describe."""
        http = config.http
        if http.net == "unix":
            return cls(path=http.addr, prefix=http.prefix, tls=http.tls.is_on)
        host, port = split_host_port(http.addr)
        return cls(host=host, port=port, prefix=http.prefix, tls=http.tls.is_on)

    @property
    def authority(self) -> str:
        """Host and port for a Host header."""
        if self.path:
            return "localhost"
        return join_host_port(self._reachable_host, self.port)

    @property
    def _address(self) -> str:
        return join_host_port(self.host, self.port)

    @property
    def _reachable_host(self) -> str:
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix.rstrip('/')}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to it; raises OSError."""
        # Whether it is up is asked of our own child, to which nothing is told: its certificate is for others.
        context = _any_certificate() if self.tls else None
        if self.path:
            name = "localhost" if self.tls else None
            return await asyncio.open_unix_connection(self.path, ssl=context, server_hostname=name)
        return await asyncio.open_connection(self._reachable_host, self.port, ssl=context)

    def check_free(self) -> None:
        """See that nothing else listens there, before anything is started; raises OSError that says why not.

        Otherwise the answer of another process could pass for the gateway's.
        """
        if self.path:
            self._check_free_path()
            return
        try:
            found = socket.getaddrinfo(
                self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise OSError(f"cannot listen on {self._address}: {error.strerror}") from error
        refusals = [refusal for entry in found if (refusal := _refusal_to_bind(entry)) is not None]
        # A host name may have an address that this machine lacks; one that is taken is a reason to stop.
        decisive = [refusal for refusal in refusals if refusal.errno in {errno.EADDRINUSE, errno.EACCES}]
        if decisive or len(refusals) == len(found):
            reason = os.strerror((decisive or refusals)[0].errno or 0).lower()
            raise OSError(f"cannot listen on {self._address}: {reason}")

    def _check_free_path(self) -> None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.path)
            except OSError:
                # Nothing answers: free, or a socket that a crash left behind, which the gateway replaces.
                return
        raise OSError(f"cannot listen on {self.path}: another process does")


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _refusal_to_bind(entry: tuple[Any, ...]) -> OSError | None:
    family, kind, protocol, _, address = entry
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None
