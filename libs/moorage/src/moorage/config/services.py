"""`services` (Moorage's own): where the four services find each other, and how long a call may take."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from moorage.config.section import Section
from moorage.config.values import Flag, FreeForm, Seconds, Text, as_list, split_host_port, unix_socket_path


def is_unix(address: str) -> bool:
    """Whether a service's address is a unix socket's."""
    return address.startswith("unix://")


def unix_path(address: str) -> str:
    """The path of a `unix://` address; raises ValueError for another one."""
    if not is_unix(address):
        raise ValueError(f"not a unix socket's address: {address!r}")
    return address.removeprefix("unix://")


def _address(value: str) -> str:
    """Normalize to `unix:///path` or `host:port`: gRPC takes both as a target."""
    if is_unix(value):
        if not unix_path(value).startswith("/"):
            raise ValueError(f"must be unix:// and an absolute path: {value!r}")
        unix_socket_path(unix_path(value))
        return value
    try:
        host, port = split_host_port(value.removeprefix("tcp://"))
    except ValueError:
        raise ValueError(f"must be unix:///path, tcp://host:port or host:port: {value!r}") from None
    if not host or not port:
        raise ValueError(f"must name a host and a port: {value!r}")
    return value.removeprefix("tcp://")


def _nats_url(value: str) -> str:
    # The value may hold a password: the sentence does not repeat it.
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in {"nats", "tls"} or not parts.hostname:
        raise ValueError("must be a nats:// or tls:// URL with a host")
    return value


def _at_least_one(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must hold at least one address")
    if len(set(value)) != len(value):
        raise ValueError("holds an address twice")
    return value


def _more_than_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than zero")
    return value


Address = Annotated[Text, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(as_list), AfterValidator(_at_least_one)]
Deadline = Annotated[Seconds, AfterValidator(_more_than_zero)]


class GatewayService(Section):
    """`services.gateway`: it listens where `http` says, and has no keys here."""


class BlobService(Section):
    """`services.blob`: one address, or one for each instance."""

    addr: Addresses = ("unix:///run/moorage/blob.sock",)


class MetadataService(Section):
    """`services.metadata`."""

    addr: Address = "unix:///run/moorage/metadata.sock"


class NotifierService(Section):
    """`services.notifier`."""

    addr: Address = "unix:///run/moorage/notifier.sock"


class NATS(Section):
    """`services.nats`."""

    url: Annotated[Text, AfterValidator(_nats_url)] = Field(default="nats://127.0.0.1:4222", repr=False)


class Services(Section):
    """`services`. Both times are seconds.

    `timeout` is the deadline of a unary call, and `blobtimeout` how long a stream of bytes may stall.
    """

    gateway: GatewayService = Field(default_factory=GatewayService)
    blob: BlobService = Field(default_factory=BlobService)
    metadata: MetadataService = Field(default_factory=MetadataService)
    notifier: NotifierService = Field(default_factory=NotifierService)
    nats: NATS = Field(default_factory=NATS)
    timeout: Deadline = 30.0
    blobtimeout: Deadline = 300.0
    insecure: Flag = False
    tls: dict[str, FreeForm] = Field(default_factory=dict)
