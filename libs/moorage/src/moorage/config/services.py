"""`services` (Moorage's own): where the four services find each other, and how long a call may take."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from moorage.config.section import Section
from moorage.config.values import Flag, FreeForm, Seconds, Text, split_host_port

# struct sockaddr_un holds 108 bytes, the last of them a NUL.
UNIX_PATH_MAX = 107


def is_unix(address: str) -> bool:
    """Whether a service's address is a unix socket's."""
    return address.startswith("unix://")


def unix_path(address: str) -> str:
    """The path of a `unix://` address; raises ValueError for another one."""
    if not is_unix(address):
        raise ValueError(f"not a unix socket's address: {address!r}")
    return address.removeprefix("unix://")


def _address(value: str) -> str:
    """Normalize to `unix:///path` or `host:port`; gRPC takes both as a target."""
    if is_unix(value):
        path = unix_path(value)
        if not path.startswith("/"):
            raise ValueError(f"must be unix:// and an absolute path: {value!r}")
        if len(path.encode()) > UNIX_PATH_MAX:
            raise ValueError(f"longer than a unix socket's path can be ({UNIX_PATH_MAX} bytes): {value!r}")
        return value
    try:
        host, port = split_host_port(value.removeprefix("tcp://"))
    except ValueError:
        raise ValueError(f"must be unix:///path, tcp://host:port or host:port: {value!r}") from None
    if not host or not port:
        raise ValueError(f"must name a host and a port: {value!r}")
    return value.removeprefix("tcp://")


def _nats_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"nats", "tls"} or not parts.hostname:
        raise ValueError("not a nats:// or tls:// URL")
    return value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _at_least_one(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must hold at least one address")
    return value


def _more_than_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than zero")
    return value


Address = Annotated[Text, AfterValidator(_address)]
Deadline = Annotated[Seconds, AfterValidator(_more_than_zero)]


class GatewayService(Section):
    """`services.gateway`: it listens where `http` says."""


class BlobService(Section):
    """`services.blob`: one address, or one for each instance."""

    addr: Annotated[tuple[Address, ...], BeforeValidator(_several), AfterValidator(_at_least_one)] = (
        "unix:///run/moorage/blob.sock",
    )


class MetadataService(Section):
    """`services.metadata`."""

    addr: Address = "unix:///run/moorage/metadata.sock"


class NotifierService(Section):
    """`services.notifier`."""

    addr: Address = "unix:///run/moorage/notifier.sock"


class NATS(Section):
    """`services.nats`."""

    url: Annotated[Text, AfterValidator(_nats_url)] = "nats://127.0.0.1:4222"


class Services(Section):
    """`services`. `timeout` is a unary call's deadline, `blobtimeout` how long a stream may stall; both seconds."""

    gateway: GatewayService = Field(default_factory=GatewayService)
    blob: BlobService = Field(default_factory=BlobService)
    metadata: MetadataService = Field(default_factory=MetadataService)
    notifier: NotifierService = Field(default_factory=NotifierService)
    nats: NATS = Field(default_factory=NATS)
    timeout: Deadline = 30.0
    blobtimeout: Deadline = 300.0
    insecure: Flag = False
    tls: dict[str, FreeForm] = Field(default_factory=dict)
