"""`services` (Moorage's own): where the four services find each other, and how long a call may take."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from moorage.config.section import Section
from moorage.config.tls import ServicesTLS
from moorage.config.values import (
    DNS,
    ByteSize,
    Count,
    Flag,
    HostPort,
    Seconds,
    Text,
    as_list,
    empty_is_none,
    join_host_port,
    more_than_zero,
    one_of,
    split_host_port,
    unix_socket_path,
)
from moorage.config.workers import MOST_WORKERS, blob_processes, instance_addresses
from moorage.public_addresses import parse_address

# Seconds.
LONGEST_LEASE = 10.0

LEAST_SYNC_INTERVAL = 0.001
MOST_SYNC_INTERVAL = 600.0

LAST_PORT = 65535


def is_unix(address: str) -> bool:
    """Whether a service's address is a unix socket's."""
    return address.startswith("unix://")


def unix_path(address: str) -> str:
    """The path of a `unix://` address; raises ValueError for another one."""
    if not is_unix(address):
        raise ValueError(f"not a unix socket's address: {address!r}")
    return address.removeprefix("unix://")


def is_dns(address: str) -> bool:
    """Whether a service's address is a name that stands for all that DNS has for it."""
    return address.startswith(DNS)


def host_and_port(address: str) -> tuple[str, int]:
    """The host, or the name in DNS, and the port of an address that is not a unix socket's."""
    return split_host_port(address.removeprefix(DNS))


def _address(value: str) -> str:
    """Normalize to `unix:///path`, `dns:///name:port` or `host:port`: gRPC takes each as a target."""
    if is_unix(value):
        if not unix_path(value).startswith("/"):
            raise ValueError(f"must be unix:// and an absolute path: {value!r}")
        unix_socket_path(unix_path(value))
        return value
    try:
        host, port = host_and_port(value.removeprefix("tcp://"))
    except ValueError:
        raise ValueError(
            f"must be unix:///path, dns:///name:port, tcp://host:port or host:port: {value!r}"
        ) from None
    if not host or not port:
        raise ValueError(f"must name a host and a port: {value!r}")
    if is_dns(value) and parse_address(host) is not None:
        raise ValueError(f"dns:/// takes a name, which {host} is not; write {host}:{port}")
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


def _port(value: int) -> int:
    if value > LAST_PORT:
        raise ValueError(f"must be a port, at most {LAST_PORT}")
    return value


def _workers(value: int, info: ValidationInfo) -> int:
    if value > MOST_WORKERS:
        raise ValueError(f"must be at most {MOST_WORKERS}")
    # It is missing here when it was wrong itself.
    addresses = info.data.get("addr", ())
    if value > 1 and len(addresses) > 1:
        raise ValueError(
            "must be 1, or left out, where services.blob.addr names several instances: "
            "each is a process of its own then"
        )
    return value


def _short_lease(value: float) -> float:
    if value > LONGEST_LEASE:
        raise ValueError(f"must be at most {LONGEST_LEASE:g}s: a change waits for it when a gateway is gone")
    return value


Address = Annotated[Text, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(as_list), AfterValidator(_at_least_one)]
DebugAddress = Annotated[HostPort | None, BeforeValidator(empty_is_none)]
Deadline = Annotated[Seconds, AfterValidator(more_than_zero)]


class GatewayService(Section):
    """`services.gateway`: it listens where `http` says.

    `memory` is how many bytes each of its processes may keep of what it has looked up; 0 keeps nothing.
    """

    memory: ByteSize = 64 * 2**20


class BlobService(Section):
    """`services.blob`: one address, or one for each instance.

    `channel` is how bytes move between clients and this service: by the data channel where it can serve
    (auto), or always through gRPC (off). `dataport` is the data channel's port of an instance that listens on
    TCP; 0 for none. `workers` is how many processes `moorage serve blob` is, each an instance of its own with
    an address, a data port and a debug server that are derived from these; 0 where nobody said. Ask
    `instances` and `worker_count`.
    """

    addr: Addresses = ("unix:///run/moorage/blob.sock",)
    workers: Annotated[Count, AfterValidator(_workers)] = 0
    channel: Annotated[Literal["auto", "off"], BeforeValidator(one_of("auto", "off"))] = "auto"
    dataport: Annotated[Count, AfterValidator(_port)] = 0
    debugaddr: DebugAddress = None

    @property
    def worker_count(self) -> int:
        """How many processes one `moorage serve blob` is.

        When nobody said, the cores of this machine do, but only for a unix socket: over TCP, gateways on
        other machines must come to the same number.
        """
        if self.workers:
            return self.workers
        return blob_processes() if len(self.addr) == 1 and is_unix(self.addr[0]) else 1

    @property
    def instances(self) -> tuple[str, ...]:
        """The address of each instance."""
        if len(self.addr) > 1:
            return self.addr
        return instance_addresses(self.addr[0], self.worker_count)

    @property
    def dataports(self) -> tuple[int, ...]:
        """The data port of each of the processes of one `moorage serve blob`; 0 for none."""
        return tuple(self.dataport and self.dataport + number for number in range(self.worker_count))

    @property
    def debug_addresses(self) -> tuple[str, ...]:
        """Where each of the processes of one `moorage serve blob` has its debug server; "" for nowhere."""
        if self.debugaddr is None:
            return ("",) * self.worker_count
        host, port = split_host_port(self.debugaddr)
        return tuple(join_host_port(host, port and port + number) for number in range(self.worker_count))

    def problem(self) -> tuple[str, str] | None:
        """What does not go together: the key, and a sentence. `instances` may raise ValueError then."""
        try:
            addresses = self.instances
        except ValueError as error:
            return "workers", str(error)
        if (
            self.debugaddr is not None
            and split_host_port(self.debugaddr)[1] + self.worker_count > LAST_PORT + 1
        ):
            return "debugaddr", f"{self.worker_count} workers need ports beyond {LAST_PORT}"
        if is_unix(addresses[0]):
            try:
                unix_socket_path(max(map(unix_path, addresses), key=len))
            except ValueError as error:
                return "addr", f"with {len(addresses)} workers: {error}"
            return None
        if not self.dataport:
            return None
        if self.dataports[-1] > LAST_PORT:
            return "dataport", f"{self.worker_count} workers need data ports beyond {LAST_PORT}"
        taken = {host_and_port(address)[1] for address in addresses}
        if len(self.addr) == 1 and taken & set(self.dataports):
            return "dataport", "falls on a port of services.blob.addr, which each worker has one of"
        return None


def _sync_interval(value: float) -> float:
    if value and not LEAST_SYNC_INTERVAL <= value <= MOST_SYNC_INTERVAL:
        raise ValueError(
            f"must be 0 for each event, or from {LEAST_SYNC_INTERVAL * 1000:g}ms to {MOST_SYNC_INTERVAL:g}s"
        )
    return value


class MetadataService(Section):
    """`services.metadata`.

    `lease` is for how many seconds a gateway may rely on what it was told; 0 for not at all.
    """

    addr: Address = "unix:///run/moorage/metadata.sock"
    lease: Annotated[Seconds, AfterValidator(_short_lease)] = 2.0
    debugaddr: DebugAddress = None


class NotifierService(Section):
    """`services.notifier`."""

    addr: Address = "unix:///run/moorage/notifier.sock"
    debugaddr: DebugAddress = None


class NATS(Section):
    """`services.nats`.

    `syncinterval` is about the broker of `moorage up`: how often it syncs, 0 for each event before it is
    acknowledged.
    """

    url: Annotated[Text, AfterValidator(_nats_url)] = Field(default="nats://127.0.0.1:4222", repr=False)
    syncinterval: Annotated[Seconds, AfterValidator(_sync_interval)] = 0.0


class Services(Section):
    """`services`. All times are seconds.

    `timeout` is the deadline of a unary call, `blobtimeout` how long a stream of bytes may stall, and `grace`
    how long requests, and what the metadata service asks of storage for them, wait for a service that has
    just gone, as it may only be starting again, or that DNS does not list yet.
    """

    gateway: GatewayService = Field(default_factory=GatewayService)
    blob: BlobService = Field(default_factory=BlobService)
    metadata: MetadataService = Field(default_factory=MetadataService)
    notifier: NotifierService = Field(default_factory=NotifierService)
    nats: NATS = Field(default_factory=NATS)
    timeout: Deadline = 30.0
    blobtimeout: Deadline = 300.0
    grace: Seconds = 2.5
    insecure: Flag = False
    tls: ServicesTLS = Field(default_factory=ServicesTLS)
