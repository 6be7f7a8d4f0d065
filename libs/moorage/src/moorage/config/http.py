"""`http`: the listener, the URLs that answers hold, and the debug server."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from moorage.config.limits import Limits
from moorage.config.section import Section
from moorage.config.tls import TLS
from moorage.config.values import (
    AbsoluteURL,
    Count,
    Flag,
    Headers,
    HostPort,
    Network,
    Seconds,
    Secret,
    Text,
    as_list,
    empty_is_none,
    one_of,
    split_host_port,
    unix_socket_path,
)
from moorage.config.workers import MOST_WORKERS, gateway_processes

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

_PREFIX = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)


def _prefix(value: str) -> str:
    if not value:
        return "/"
    if not (value.startswith("/") and value.endswith("/")):
        raise ValueError(f"must begin and end with '/': {value!r}")
    if _PREFIX.fullmatch(value) is None:
        raise ValueError(f"must be path segments of letters, digits and '._~-' between slashes: {value!r}")
    return value


def _path(value: str) -> str:
    if _PATH.fullmatch(value) is None:
        raise ValueError(f"must be '/' and path segments of letters, digits and '._~-': {value!r}")
    return value


def _listen_address(value: str, info: ValidationInfo) -> str:
    # `net` stands before `addr` in the model; it is missing here when it was wrong itself.
    if info.data.get("net") == "unix":
        return unix_socket_path(value)
    if info.data.get("net") == "tcp":
        split_host_port(value)
    return value


def _workers(value: int) -> int:
    if value > MOST_WORKERS:
        raise ValueError(f"must be at most {MOST_WORKERS}")
    return value


class Prometheus(Section):
    """`http.debug.prometheus`."""

    enabled: Flag = False
    path: Annotated[Text, AfterValidator(_path)] = "/metrics"


class Debug(Section):
    """`http.debug`: without `addr` there is no debug server."""

    addr: Annotated[HostPort | None, BeforeValidator(empty_is_none)] = None
    prometheus: Prometheus = Field(default_factory=Prometheus)


class HTTP2(Section):
    """`http.http2`: accepted; clients are served HTTP/1.1 either way."""

    disabled: Flag = False


class H2C(Section):
    """`http.h2c`."""

    enabled: Flag = False


class HTTP(Section):
    """`http`. `draintimeout` is seconds, and 0 does not wait. `workers` is 0 where nobody said how many.

    `secret` is None when the operator gave none: the gateway then makes one up, which no other gateway
    shares.
    """

    net: Annotated[Literal["tcp", "unix"], BeforeValidator(one_of("tcp", "unix"))] = "tcp"
    addr: Annotated[Text, AfterValidator(_listen_address)] = "127.0.0.1:5000"
    host: Annotated[AbsoluteURL | None, BeforeValidator(empty_is_none)] = None
    prefix: Annotated[Text, AfterValidator(_prefix)] = "/"
    secret: Secret = None
    relativeurls: Flag = False
    draintimeout: Seconds = 30.0
    headers: Headers = Field(default_factory=dict)
    tls: TLS = Field(default_factory=TLS)
    debug: Debug = Field(default_factory=Debug)
    http2: HTTP2 = Field(default_factory=HTTP2)
    h2c: H2C = Field(default_factory=H2C)
    trustedproxies: Annotated[tuple[Network, ...], BeforeValidator(as_list)] = LOOPBACK
    limits: Limits = Field(default_factory=Limits)
    workers: Annotated[Count, AfterValidator(_workers)] = 0

    @property
    def worker_count(self) -> int:
        """How many processes serve: as many as the operator said, else one for each core it may use."""
        return self.workers or gateway_processes()

    def trusts(self, peer: str | None) -> bool:
        """Whether the `Forwarded` and `X-Forwarded-*` headers of this peer count.

        `peer` is an IP address as text; None is a peer on a unix socket, whom file permissions let in. A peer
        whose address cannot be read is not trusted.
        """
        if peer is None:
            return True
        try:
            address: Any = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.trustedproxies)
