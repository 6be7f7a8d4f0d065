"""`http`: the listener, the URLs that answers hold, and the debug server."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from moorage.config.section import Section
from moorage.config.values import (
    AbsoluteURL,
    ByteSize,
    Flag,
    FreeForm,
    HostPort,
    Lines,
    Network,
    Seconds,
    Secret,
    Text,
    one_of,
    split_host_port,
)

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def _prefix(value: str) -> str:
    if value and not (value.startswith("/") and value.endswith("/")):
        raise ValueError(f"must begin and end with '/': {value!r}")
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"must begin with '/': {value!r}")
    return value


class Prometheus(Section):
    """`http.debug.prometheus`."""

    enabled: Flag = False
    path: Annotated[Text, AfterValidator(_path)] = "/metrics"


class Debug(Section):
    """`http.debug`: without `addr` there is no debug server."""

    addr: HostPort | None = None
    prometheus: Prometheus = Field(default_factory=Prometheus)


class HTTP2(Section):
    """`http.http2`: accepted; clients are served HTTP/1.1 either way."""

    disabled: Flag = False


class H2C(Section):
    """`http.h2c`."""

    enabled: Flag = False


class Limits(Section):
    """`http.limits` (Moorage's own), in bytes; an `uploadsize` of 0 is no limit."""

    manifestsize: ByteSize = 4 * 2**20
    uploadsize: ByteSize = 0


class HTTP(Section):
    """`http`. `draintimeout` is seconds; 0 does not wait. `secret` is None when the gateway must make one up."""

    addr: Text = "127.0.0.1:5000"
    net: Annotated[Literal["tcp", "unix"], BeforeValidator(one_of("tcp", "unix"))] = "tcp"
    host: AbsoluteURL | None = None
    prefix: Annotated[Text, AfterValidator(_prefix)] = "/"
    secret: Secret | None = None
    relativeurls: Flag = False
    draintimeout: Seconds = 30.0
    headers: dict[str, Lines] = Field(default_factory=dict)
    tls: dict[str, FreeForm] = Field(default_factory=dict)
    debug: Debug = Field(default_factory=Debug)
    http2: HTTP2 = Field(default_factory=HTTP2)
    h2c: H2C = Field(default_factory=H2C)
    trustedproxies: tuple[Network, ...] = LOOPBACK
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _address_of_its_kind(self) -> HTTP:
        return self

    def trusts(self, peer: str | None) -> bool:
        """Whether `X-Forwarded-*` and `Forwarded` of this peer count.

        `peer` is an IP address as text; None is a peer on a unix socket, which file permissions let in.
        """
        if peer is None:
            return True
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.trustedproxies)
