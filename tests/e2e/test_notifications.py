"""Every acknowledged change reaches every endpoint, in order, whatever is killed, paused or cut off."""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support import forwarder, recorder
from support.client import V2Client
from support.images import Content, make_image
from support.nats import events_at
from support.processes import Process, accepts_connections, free_port, wait_until
from support.recorder import Heard, heard
from support.registry import Stack

# Pushes; `make soak` sets 10000.
EVENTS = int(os.environ.get("MOORAGE_EVENTS", "240"))
REPOSITORIES = ("team/one", "team/two.app", "three")

# Seconds until everything is told once the disturbances are over.
CALM = 120


class Link:
    """A connection between two processes that can be cut: every packet lost, or every connection broken."""

    def __init__(self, folder: Path, name: str, target: int) -> None:
        self._folder, self._name, self._target = folder, name, target
        self.port = free_port()
        self.start()

    def start(self) -> None:
        command = [sys.executable, forwarder.__file__, str(self.port), str(self._target)]
        self.process = Process(command, log=self._folder / f"{self._name}.log")
        wait_until(lambda: accepts_connections(self.port), timeout=20, what=f"{self._name} is there")


class Hook:
    """A subscriber in its own process, and the endpoint that leads to it over a link."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self.name = folder, name
        self._port = free_port()
        self.record = folder / f"{name}.events"
        self.link = Link(folder, f"link-{name}", self._port)
        self.process: Process | None = None

    def start(self) -> None:
        command = [sys.executable, recorder.__file__, str(self._port), self.record]
        self.process = Process(command, log=self._folder / f"{self.name}.log")

    @property
    def endpoint(self) -> dict[str, object]:
        return {
            "name": self.name,
            "url": f"http://127.0.0.1:{self.link.port}/hook",
            "allowprivate": True,
            "backoff": "100ms",
            "maxbackoff": "2s",
            "ignore": {"mediatypes": ["application/octet-stream"]},
        }


class Network:
    """A stack whose gateway and notifier reach the broker over a link each, and three hooks."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.hooks = [Hook(folder, name) for name in ("first", "second", "dead")]
        self.live = self.hooks[:2]
        self.dead = self.hooks[2]
        for hook in self.live:
            hook.start()
        broker = free_port()
        self.to_broker = Link(folder, "link-broker", broker)
        self.stack = Stack(
            folder,
            nats_port=broker,
            env={
                "REGISTRY_SERVICES_NATS_URL": f"nats://127.0.0.1:{self.to_broker.port}",
                "REGISTRY_NOTIFICATIONS_OUTBOX_PATH": str(folder / "outbox"),
                "REGISTRY_NOTIFICATIONS_TAKEOVER": "2s",
                "REGISTRY_NOTIFICATIONS_ENDPOINTS": json.dumps([hook.endpoint for hook in self.hooks]),
            },
        )

    def processes(self) -> Iterator[Process]:
        yield from self.stack.processes.values()
        yield self.to_broker.process
        for hook in self.hooks:
            yield hook.link.process
            if hook.process is not None:
                yield hook.process

    def close(self) -> None:
        for process in self.processes():
            for each in process.tree() if process.running() else []:
                each.resume()
        self.stack.stop()
        for process in self.processes():
            process.kill()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    network = Network(tmp_path / "network")
    try:
        yield network
    finally:
        network.close()


class Pusher(threading.Thread):
    """Pushes manifests to one repository, one after the other, each until it is acknowledged.

    At least `number` of them, and until `enough` is set.
    """

    def __init__(self, stack: Stack, repository: str, number: int, enough: threading.Event) -> None:
        super().__init__(name=repository)
        self.repository = repository
        self.acknowledged: list[str] = []
        self._number, self._enough = number, enough
        self._client = V2Client(stack.url, timeout=20)
        image = make_image(random.Random(repository).getrandbits(60), (500,))
        for blob in image.blobs:
            self._client.push_blob(repository, blob.content)
        self._manifest = json.loads(image.manifest.content)
        self._media_type = image.manifest.media_type

    def run(self) -> None:
        for number in itertools.count():
            if number >= self._number and self._enough.is_set():
                break
            content = json.dumps({**self._manifest, "annotations": {"number": str(number)}}).encode()
            manifest = Content(self._media_type, content)
            while not self._push(f"v{number % 7}", manifest):
                time.sleep(0.05)
            self.acknowledged.append(manifest.digest)
        self._client.close()

    def _push(self, tag: str, manifest: Content) -> bool:
        try:
            return self._client.put_manifest(self.repository, tag, manifest).status_code == 201
        except httpx.HTTPError:
            return False


class Mischief:
    """What goes wrong, one thing at a time."""

    def __init__(self, network: Network, rng: random.Random) -> None:
        self._network = network
        self._stack = network.stack
        self._rng = rng
        self.done: Counter[str] = Counter()
        self._actions: dict[str, Callable[[], None]] = {
            **{f"kill {name}": self._killing(name) for name in ("nats", "gateway", "notifier")},
            **{f"pause {name}": self._pausing(name) for name in ("nats", "gateway", "notifier")},
            "kill a subscriber": self._kill_subscriber,
            "pause a subscriber": self._pause_subscriber,
            "lose packets": self._lose_packets,
            "break connections": self._break_connections,
        }
        self._next: list[str] = []

    @property
    def has_done_all(self) -> bool:
        return len(self.done) == len(self._actions)

    def do_one(self) -> None:
        """Each once in a random order, then each again."""
        if not self._next:
            self._next = self._rng.sample(sorted(self._actions), len(self._actions))
        name = self._next.pop()
        self._actions[name]()
        self.done[name] += 1

    def _killing(self, name: str) -> Callable[[], None]:
        def kill() -> None:
            self._stack.kill(name)
            time.sleep(self._rng.uniform(0, 0.5))
            self._stack.start(name)

        return kill

    def _pausing(self, name: str) -> Callable[[], None]:
        # A notifier beyond its lease: another would have taken over.
        seconds = (0.2, 4) if name == "notifier" else (0.2, 2)
        return lambda: self._pause(self._stack.processes[name], *seconds)

    def _pause(self, process: Process, least: float, most: float) -> None:
        tree = process.tree()
        for each in tree:
            each.suspend()
        time.sleep(self._rng.uniform(least, most))
        for each in tree:
            each.resume()

    def _kill_subscriber(self) -> None:
        hook = self._rng.choice(self._network.live)
        assert hook.process is not None
        hook.process.kill()
        time.sleep(self._rng.uniform(0, 1))
        hook.start()

    def _pause_subscriber(self) -> None:
        hook = self._rng.choice(self._network.live)
        assert hook.process is not None
        # Beyond the endpoint's timeout: what it answers then, nobody hears.
        self._pause(hook.process, 0.5, 3)

    def _lose_packets(self) -> None:
        self._pause(self._a_link().process, 0.2, 3)

    def _break_connections(self) -> None:
        link = self._a_link()
        link.process.kill()
        time.sleep(self._rng.uniform(0, 1))
        link.start()

    def _a_link(self) -> Link:
        return self._rng.choice([self._network.to_broker, *(hook.link for hook in self._network.live)])


def told(hook: Hook, pushers: list[Pusher]) -> bool:
    """Whether an endpoint has heard of all that was acknowledged."""
    known = {(event.repository, event.digest) for event in heard(hook.record)}
    return all((pusher.repository, digest) in known for pusher in pushers for digest in pusher.acknowledged)


def assert_told_in_order(hook: Hook, pushers: list[Pusher]) -> Counter[str]:
    """Check what an endpoint was told; how many deliveries, events and repeated deliveries that were."""
    deliveries = [event for event in heard(hook.record) if event.action == "push"]
    content: dict[str, Heard] = {}
    for event in deliveries:
        assert content.setdefault(event.id, event) == event, f"{hook.name}: id {event.id} of two events"
    for pusher in pushers:
        first: dict[str, int] = {}
        for place, event in enumerate(deliveries):
            if event.repository == pusher.repository:
                first.setdefault(event.digest, place)
        missing = [digest for digest in pusher.acknowledged if digest not in first]
        assert not missing, (
            f"{hook.name}: {len(missing)} acknowledged pushes of {pusher.repository} are missing"
        )
        places = [first[digest] for digest in pusher.acknowledged]
        assert places == sorted(places), f"{hook.name}: events of {pusher.repository} are out of order"
    return Counter(deliveries=len(deliveries), events=len(content), repeated=len(deliveries) - len(content))


@pytest.mark.timeout(5400)
def test_every_acknowledged_push_reaches_every_endpoint_in_order_through_kills_pauses_and_cuts(
    network: Network,
) -> None:
    seed = int(os.environ.get("MOORAGE_SEED", "13"))
    enough = threading.Event()
    number = EVENTS // len(REPOSITORIES)
    pushers = [Pusher(network.stack, repository, number, enough) for repository in REPOSITORIES]
    mischief = Mischief(network, random.Random(seed))
    started = time.monotonic()
    for pusher in pushers:
        pusher.start()
    while any(pusher.is_alive() for pusher in pushers):
        mischief.do_one()
        network.stack.wait_ready()
        if mischief.has_done_all:
            enough.set()
    pushing = time.monotonic() - started
    # The dead endpoint delays no other.
    for hook in network.live:
        wait_until(lambda hook=hook: told(hook, pushers), timeout=CALM, what=f"{hook.name} is told")
    assert not network.dead.record.exists()
    # And it is told in its turn.
    network.dead.start()
    wait_until(lambda: told(network.dead, pushers), timeout=CALM + EVENTS / 100, what="the dead one is told")

    figures = {hook.name: dict(assert_told_in_order(hook, pushers)) for hook in network.hooks}
    stored = [event.document["id"] for event in events_at(network.stack.nats_url)]
    assert len(stored) == len(set(stored)), "an id is in the stream twice"
    acknowledged = sum(len(pusher.acknowledged) for pusher in pushers)
    print(
        f"seed {seed}: {acknowledged} pushes in {pushing:.0f} s, {sum(mischief.done.values())} disturbances"
    )
    print(json.dumps({"disturbances": mischief.done, "told": figures}, indent=1))
