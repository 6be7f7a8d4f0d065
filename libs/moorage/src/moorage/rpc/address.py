"""Where a service listens: a unix socket on one host, TCP between hosts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# sockaddr_un.sun_path on Linux, with its closing zero byte.
UNIX_PATH_MAX = 107


class InvalidAddressError(ValueError):
    """The text is not `unix:///path` or `tcp://host:port`."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: either `path` or `host` and `port` are set."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `unix:///path`, `tcp://host:port` or `host:port`; raises InvalidAddressError."""
        url = urlsplit(text if "://" in text else f"tcp://{text}")
        if url.scheme == "unix":
            if url.netloc or not url.path.startswith("/"):
                raise InvalidAddressError(f"a unix socket is unix:///absolute/path, not {text!r}")
            if len(url.path.encode()) > UNIX_PATH_MAX:
                raise InvalidAddressError(f"longer than {UNIX_PATH_MAX} bytes: {url.path!r}")
            return cls(path=Path(url.path))
        try:
            port = url.port
        except ValueError:
            port = None
        plain = not (url.path or url.query or url.fragment or url.username or url.password)
        if url.scheme != "tcp" or not url.hostname or port is None or not plain:
            raise InvalidAddressError(f"not unix:///path, tcp://host:port or host:port: {text!r}")
        return cls(host=url.hostname, port=port)

    @property
    def is_local(self) -> bool:
        """Whether nothing outside this host can reach the address."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def target(self) -> str:
        """The address as gRPC names it, for listening and for connecting."""
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path is not None else f"tcp://{self.target}"
