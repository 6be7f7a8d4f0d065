"""Registries with a webhook: what it costs a pull and a push, and how fast a subscriber hears of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.clients import transfer
from bench.clients.hook import Hook
from bench.clients.work import Work, percentiles
from bench.operations import Operation
from bench.operations.requests import request_operations
from bench.operations.small_images import PushImages
from bench.operations.transfers import Amount
from bench.registries import Registry
from support.client import V2Client
from support.images import ACCEPT_ALL, make_image

_REPOSITORY = "bench/told"
_IMAGE = make_image(8, (2000,))
_PATH = f"/v2/{_REPOSITORY}/manifests/latest"
_HEADERS = {"Accept": ACCEPT_ALL}

# How many events Moorage may put into one request, where it is allowed to; docker-registry always puts one.
BATCH = 100


# How often Moorage's broker syncs its disk, where that is not for each event.
SYNC_INTERVAL = "10ms"


def notifications(hook: Hook, batch: int, sync_interval: str) -> str:
    """What either configuration says of events; docker-registry does not read what is Moorage's own."""
    endpoint = (
        f"{{name: bench, url: '{hook.url}', timeout: 10s, allowprivate: true, batch: {{events: {batch}}}}}"
    )
    return (
        f"notifications: {{endpoints: [{endpoint}]}}\nservices: {{nats: {{syncinterval: {sync_interval}}}}}\n"
    )


@dataclass
class ToldPulls:
    """Pulls of a manifest by several clients, until the subscriber has heard of each."""

    hook: Hook
    concurrency: int
    times: int
    rounds: int
    name: str
    group: str = "events"

    def prepare(self, registry: Registry) -> None:
        with V2Client(registry.url) as client:
            client.push_image(_REPOSITORY, "latest", _IMAGE)
        self.hook.wait_until_quiet()

    def work(self, registry: Registry) -> Work:
        before = self.hook.events
        started = time.perf_counter()
        _, taken = transfer.at_once(
            registry.host_and_port,
            range(self.times),
            self.concurrency,
            lambda connection, _: connection.request("GET", _PATH, expect=200, headers=_HEADERS),
        )
        self.hook.wait_for(before + self.times)
        return Work(self.times, 0, time.perf_counter() - started, percentiles(taken))

    def clean(self, registry: Registry) -> None:
        self.hook.wait_until_quiet()


@dataclass
class Told:
    """Another operation, by a registry that tells a subscriber of it."""

    operation: Operation
    hook: Hook
    group: str = "events"
    name: str = field(init=False)
    concurrency: int = field(init=False)
    rounds: int = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.operation.name
        self.concurrency = self.operation.concurrency
        self.rounds = self.operation.rounds

    def prepare(self, registry: Registry) -> None:
        self.operation.prepare(registry)
        self.hook.wait_until_quiet()

    def work(self, registry: Registry) -> Work:
        return self.operation.work(registry)

    def clean(self, registry: Registry) -> None:
        self.operation.clean(registry)
        self.hook.wait_until_quiet()


def event_operations(amounts: Sequence[Amount], hook: Hook, seconds: int) -> list[Operation]:
    """What registries do that tell a subscriber, one event in a request."""
    told: list[Operation] = []
    for amount in amounts:
        at_once, rounds = amount.concurrency, amount.rounds
        told += [
            ToldPulls(hook, at_once, amount.times, rounds, "GET manifest, until the subscriber knows"),
            *(
                Told(request, hook)
                for request in request_operations([at_once], rounds=rounds, seconds=seconds)
                if request.name == "GET manifest by tag"
            ),
            Told(PushImages(at_once, max(amount.times // 20, 1), rounds), hook),
        ]
    return told


def batched_operations(amounts: Sequence[Amount], hook: Hook, *, synced: bool) -> list[Operation]:
    """What registries do that may tell a subscriber of several events in one request."""
    name = f"GET manifest, until the subscriber knows, {BATCH} in a request"
    if not synced:
        name += f", synced every {SYNC_INTERVAL}"
    return [ToldPulls(hook, amount.concurrency, amount.times, amount.rounds, name) for amount in amounts]
