"""Blobs: how fast they go in and out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import storage
from bench.clients import transfer
from bench.clients.connection import Connection
from bench.clients.work import Work
from bench.content import Blob
from bench.operations import Operation
from bench.registries import Registry

MIB = 1 << 20
GIB = 1 << 30
_PULLED = "bench/pull"
_serial = itertools.count()


@dataclass(frozen=True)
class Amount:
    """How often blobs of `size` bytes are moved, by how many clients at once, in how many rounds."""

    size: int
    concurrency: int
    times: int
    rounds: int


class PulledBlobs:
    """The blobs that are pulled: one of each size in each registry, pushed when it is first asked for."""

    def __init__(self) -> None:
        self._blobs: dict[tuple[str, int], Blob] = {}

    def blob(self, registry: Registry, size: int) -> Blob:
        key = (registry.url, size)
        if key not in self._blobs:
            blob = Blob(size)
            with Connection(registry.host_and_port) as connection:
                transfer.push_blob(connection, _PULLED, blob)
            self._blobs[key] = blob
        return self._blobs[key]


@dataclass(frozen=True)
class Pull:
    """GET of one blob, which is in the page cache."""

    name: str
    concurrency: int
    rounds: int
    size: int
    times: int
    blobs: PulledBlobs
    group: str = "pull"

    def prepare(self, registry: Registry) -> None:
        """Pull the blob once, so that it is in the page cache."""
        self._pull(registry, times=1, clients=1)

    def work(self, registry: Registry) -> Work:
        return self._pull(registry, times=self.times, clients=self.concurrency)

    def _pull(self, registry: Registry, *, times: int, clients: int) -> Work:
        digest = self.blobs.blob(registry, self.size).digest
        return transfer.pull(registry.host_and_port, _PULLED, digest, self.size, times=times, clients=clients)

    def clean(self, registry: Registry) -> None:
        """The blob stays for the next round."""


@dataclass
class Push:
    """POST, PATCH in chunks of 32 KiB, PUT, of blobs that the registry has not seen before."""

    name: str
    concurrency: int
    rounds: int
    size: int
    times: int
    group: str = "push"
    _repository: str = ""
    _blobs: list[Blob] = field(default_factory=list)

    def prepare(self, registry: Registry) -> None:
        self._repository = f"bench/push-{next(_serial)}"
        self._blobs = [Blob(self.size) for _ in range(self.times)]

    def work(self, registry: Registry) -> Work:
        return transfer.push(registry.host_and_port, self._repository, self._blobs, clients=self.concurrency)

    def clean(self, registry: Registry) -> None:
        """Remove what was pushed, so that a run needs no more room than its largest operation."""
        storage.remove(registry.root, self._repository, (blob.digest for blob in self._blobs))


def size_name(size: int) -> str:
    """A size in the largest unit that divides it."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def pull_operations(amounts: Sequence[Amount], blobs: PulledBlobs, group: str = "pull") -> list[Operation]:
    return [
        Pull(
            f"pull {size_name(amount.size)}",
            amount.concurrency,
            amount.rounds,
            amount.size,
            amount.times,
            blobs,
            group,
        )
        for amount in amounts
    ]


def push_operations(amounts: Sequence[Amount], group: str = "push") -> list[Operation]:
    return [
        Push(
            f"push {size_name(amount.size)}",
            amount.concurrency,
            amount.rounds,
            amount.size,
            amount.times,
            group,
        )
        for amount in amounts
    ]
