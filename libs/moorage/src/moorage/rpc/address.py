"""Where a service listens: a unix socket on one host, TCP between hosts, a name for what DNS has for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from moorage.config.values import DNS, UNIX_PATH_MAX, join_host_port

_EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104  to be told apart


class InvalidAddressError(ValueError):
    """The text is not `unix:///path`, `tcp://host:port` or `dns:///name:port`."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: either `path` or `host` and `port` are set.

    With `discovered`, `host` is a name that stands for every address that DNS has for it at the moment; the
    service itself listens on every interface. `name` is the name under which an address was found.
    """

    path: Path | None = None
    host: str = ""
    port: int = 0
    discovered: bool = False
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `unix:///path`, `dns:///name:port`, `tcp://host:port` or `host:port`.

        Raises InvalidAddressError.
        """
        if text.startswith(DNS):
            found = cls._parse_tcp(text.removeprefix(DNS), text)
            return replace(found, discovered=True)
        url = urlsplit(text if "://" in text else f"tcp://{text}")
        if url.scheme == "unix":
            if url.netloc or not url.path.startswith("/"):
                raise InvalidAddressError(f"a unix socket is unix:///absolute/path, not {text!r}")
            if len(url.path.encode()) > UNIX_PATH_MAX:
                raise InvalidAddressError(f"longer than {UNIX_PATH_MAX} bytes: {url.path!r}")
            return cls(path=Path(url.path))
        return cls._parse_tcp(text.removeprefix("tcp://"), text)

    @classmethod
    def _parse_tcp(cls, host_and_port: str, text: str) -> Address:
        try:
            url = urlsplit(f"tcp://{host_and_port}")
            port = url.port
        except ValueError:
            port = None
        plain = not (url.path or url.query or url.fragment or url.username or url.password)
        if not url.hostname or port is None or not plain:
            raise InvalidAddressError(
                f"not unix:///path, dns:///name:port, tcp://host:port or host:port: {text!r}"
            )
        return cls(host=url.hostname, port=port)

    @property
    def target(self) -> str:
        """The address as gRPC names it, for connecting."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"{DNS}{self._host_and_port}" if self.discovered else self._host_and_port

    @property
    def listen_target(self) -> str:
        """The address as gRPC names it, for listening."""
        return f"[::]:{self.port}" if self.discovered else self.target

    @property
    def listen_host(self) -> str:
        """The host to listen on; empty for every interface."""
        return "" if self.discovered else self.host

    @property
    def of_this_host(self) -> Address:
        """The address at which a service that listens here is reached from this very host."""
        if self.path is not None or not (self.discovered or self.host in _EVERY_INTERFACE):
            return self
        return Address(
            host="::1" if self.host == "::" else "127.0.0.1", port=self.port, name=self.server_name
        )

    @property
    def server_name(self) -> str:
        """The name of the host, also of an address that was found under a name."""
        return self.name or self.host

    @property
    def _host_and_port(self) -> str:
        return join_host_port(self.host, self.port)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        return self.target if self.discovered else f"tcp://{self.target}"
