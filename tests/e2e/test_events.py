"""Every acknowledged change is in the event stream, in order, whatever is killed, paused or restarted."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.client import V2Client, expect
from support.images import Content, make_image
from support.nats import StoredEvent, events_at
from support.processes import wait_until
from support.registry import Stack, running_stack

# Pushes; `make soak` sets 10000.
EVENTS = int(os.environ.get("MOORAGE_EVENTS", "300"))
REPOSITORIES = ("team/one", "team/two.app", "three")


@pytest.fixture
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Four services whose gateway publishes events."""
    folder = tmp_path_factory.mktemp("events")
    env = {
        "REGISTRY_NOTIFICATIONS_EVENTS_PUBLISH": "true",
        "REGISTRY_NOTIFICATIONS_OUTBOX_PATH": str(folder / "outbox"),
    }
    with running_stack(folder, env=env) as stack:
        yield stack
        stack.processes["nats"].signal(signal.SIGCONT)


class Pusher(threading.Thread):
    """Pushes manifests to one repository, one after the other, each until it is acknowledged."""

    def __init__(self, stack: Stack, repository: str, number: int) -> None:
        super().__init__(name=repository)
        self.repository = repository
        self.acknowledged: list[str] = []
        self._number = number
        self._client = V2Client(stack.url, timeout=20)
        image = make_image(random.Random(repository).getrandbits(60), (500,))
        for blob in image.blobs:
            self._client.push_blob(repository, blob.content)
        self._manifest = json.loads(image.manifest.content)
        self._media_type = image.manifest.media_type

    def run(self) -> None:
        for number in range(self._number):
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
    """Kills, pauses and restarts, of nats-server above all."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self._stack = stack
        self._rng = rng
        self.done: Counter[str] = Counter()

    def do_one(self) -> None:
        action = self._rng.choice(
            (self._kill_nats, self._pause_nats, self._kill_gateway, self._kill_notifier)
        )
        action()
        self.done[action.__name__] += 1

    def _kill_nats(self) -> None:
        self._stack.kill("nats")
        time.sleep(self._rng.uniform(0, 0.5))
        self._stack.start("nats")

    def _pause_nats(self) -> None:
        self._stack.processes["nats"].signal(signal.SIGSTOP)
        time.sleep(self._rng.uniform(0.2, 2))
        self._stack.processes["nats"].signal(signal.SIGCONT)

    def _kill_gateway(self) -> None:
        self._stack.kill("gateway")
        self._stack.start("gateway")

    def _kill_notifier(self) -> None:
        self._stack.kill("notifier")
        self._stack.start("notifier")


def outbox_is_empty(stack: Stack) -> bool:
    return (stack.folder / "outbox/state").read_bytes()[:8] == bytes(8)


def pushes(stack: Stack) -> dict[str, list[StoredEvent]]:
    """The events of pushed manifests of each repository, in the order of the stream, when all are there."""
    wait_until(lambda: outbox_is_empty(stack), timeout=120, what="the outbox is empty")
    found: dict[str, list[StoredEvent]] = defaultdict(list)
    for event in events_at(stack.nats_url):
        if "tag" in event.target and event.action == "push":
            found[event.repository].append(event)
    return found


@pytest.mark.timeout(3600)
def test_acknowledged_pushes_are_events_in_order_through_kills_and_pauses(publishing: Stack) -> None:
    stack = publishing
    rng = random.Random(int(os.environ.get("MOORAGE_SEED", "13")))
    pushers = [Pusher(stack, repository, EVENTS // len(REPOSITORIES)) for repository in REPOSITORIES]
    mischief = Mischief(stack, rng)
    for pusher in pushers:
        pusher.start()
    while any(pusher.is_alive() for pusher in pushers):
        time.sleep(rng.uniform(0.1, 0.5))
        mischief.do_one()
        stack.wait_ready()
    for pusher in pushers:
        pusher.join()
    assert mischief.done, "nothing was disturbed: the test proves nothing"

    found = pushes(stack)
    everything = [event.document["id"] for events in found.values() for event in events]
    assert len(everything) == len(set(everything)), "an id is in the stream twice"
    for pusher in pushers:
        first = {}
        for event in found[pusher.repository]:
            first.setdefault(event.target["digest"], event.sequence)
        missing = [digest for digest in pusher.acknowledged if digest not in first]
        assert not missing, f"{len(missing)} acknowledged pushes of {pusher.repository} have no event"
        places = [first[digest] for digest in pusher.acknowledged]
        assert places == sorted(places), f"events of {pusher.repository} are out of order"


def test_a_gateway_that_was_killed_with_events_in_its_outbox_publishes_them(publishing: Stack) -> None:
    stack = publishing
    stack.kill("nats")
    with V2Client(stack.url) as client:
        client.push_image("team/app", "v1", image := make_image(41, (2000,)))
        expect(client.put_manifest("team/app", "v2", image.manifest), 201)
    assert not outbox_is_empty(stack)
    stack.kill("gateway")
    stack.start("gateway")
    stack.wait_ready(without="nats")
    stack.start("nats")
    assert [event.target["tag"] for event in pushes(stack)["team/app"]] == ["v1", "v2"]


def test_events_of_all_workers_follow_in_the_order_in_which_they_were_acknowledged(publishing: Stack) -> None:
    stack = publishing
    with V2Client(stack.url) as client:
        client.push_image("team/app", "v0", image := make_image(42, (2000,)))
    # A connection for each push: any worker may accept it.
    for number in range(1, 60):
        if number == 20:
            stack.kill("nats")
        if number == 40:
            stack.start("nats")
        with V2Client(stack.url) as client:
            expect(client.put_manifest("team/app", f"v{number}", image.manifest), 201)
    assert [event.target["tag"] for event in pushes(stack)["team/app"]] == [
        f"v{number}" for number in range(60)
    ]


@pytest.mark.parametrize("path", ["/proc/outbox", "/dev/null"])
def test_a_gateway_that_can_have_no_outbox_does_not_start(
    publishing: Stack, path: str, check_start: Callable[[Stack, str], tuple[int, str]]
) -> None:
    code, said = check_start(publishing, path)
    assert code == 2
    assert "notifications.outbox.path: cannot be used" in said


@pytest.fixture
def check_start(tmp_path: Path) -> Callable[[Stack, str], tuple[int, str]]:
    """Starts a gateway with another outbox, and gives its status and what it said."""

    def start(stack: Stack, path: str) -> tuple[int, str]:
        stack.kill("gateway")
        stack.env["REGISTRY_NOTIFICATIONS_OUTBOX_PATH"] = path
        stack.start("gateway")
        process = stack.processes["gateway"]
        wait_until(lambda: not process.running(), timeout=20, what="the gateway ends")
        return process.stop(), process.tail()

    return start
