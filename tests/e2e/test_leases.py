"""Two gateways, each with a memory: together they are one registry, whatever happens to one of them.

Clients push tags and pull them through both while a fault comes and goes. What each client saw of each tag is
a history, and the histories are checked for linearizability: no pull finds an older tag than a push that was
acknowledged before it, or than what another pull has found before it, through whichever gateway. Writers make
new tags as well, with rising numbers. The last one of a writer's in the list of tags is one more history.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from support import forwarder
from support.client import V2Client, expect
from support.history import NOTHING, Operation, Recorder, check_linearizable
from support.images import ACCEPT_ALL, Content, digest_of, make_image
from support.processes import Process, accepts_connections, free_port, wait_until
from support.registry import Stack, running_stack

# How long clients push and pull in each scenario. `make soak` sets more.
SECONDS = float(os.environ.get("MOORAGE_HISTORY_SECONDS", "10"))
SEED = int(os.environ.get("MOORAGE_SEED", "60"))

REPOSITORY = "team/app"
TAGS = ("v1", "v2", "latest")

# Pauses, in seconds, on either side of the lease: shorter than it runs, about as long, and longer.
PAUSES = (0.4, 0.8, 1.9, 3.0)

IMAGE = make_image(SEED)


class Clients:
    """Readers and writers of tags, each on one gateway. Every write has a manifest of its own."""

    def __init__(self, gateways: dict[str, str]) -> None:
        """`gateways`: URLs by name."""
        self._gateways = gateways
        self._recorder = Recorder()
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Readers and writers on every gateway for the length of the block; a failure of one fails it."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            running = [
                pool.submit(act, f"{gateway}-{kind}-{number}", url)
                for gateway, url in self._gateways.items()
                for kind, act, count in (("reader", self._read, 2), ("writer", self._write, 1))
                for number in range(count)
            ]
            try:
                yield
            finally:
                self._stop.set()
            for each in running:
                each.result()
        for gateway, url in self._gateways.items():
            with V2Client(url, timeout=60) as client:
                for tag in TAGS:
                    self._look(client, tag, f"{gateway}-last", "GET")

    @contextmanager
    def latecomers(self, gateway: str) -> Iterator[Callable[[], None]]:
        """A function that lets clients that are connected already ask for each tag; the end waits for it."""
        with ExitStack() as exits:
            pool = exits.enter_context(ThreadPoolExecutor(max_workers=len(TAGS)))
            clients = [exits.enter_context(V2Client(self._gateways[gateway], timeout=8)) for _ in TAGS]
            asking = []

            def ask() -> None:
                for client, tag in zip(clients, TAGS, strict=True):
                    asking.append(pool.submit(self._look, client, tag, f"{gateway}-latecomer", "GET"))

            for client, tag in zip(clients, TAGS, strict=True):
                self._look(client, tag, f"{gateway}-latecomer", "GET")
            yield ask
            for each in asking:
                each.result()

    def check(self) -> None:
        """The histories are linearizable, and there is enough in them to say something."""
        operations: list[Operation] = []
        for history in self._recorder.histories.values():
            check_linearizable(history)
            operations += history
        for gateway in self._gateways:
            mine = [each for each in operations if each.client.startswith(gateway)]
            reads = sum(each.kind == "read" for each in mine)
            writes = sum(each.kind == "write" and not math.isinf(each.end) for each in mine)
            assert reads > 10 * SECONDS, f"only {reads} reads through the {gateway} gateway prove nothing"
            assert writes >= 3, (
                f"only {writes} acknowledged writes through the {gateway} gateway prove nothing"
            )

    def _read(self, name: str, url: str) -> None:
        choices = random.Random(f"{SEED}-{name}")
        with V2Client(url, timeout=8) as client:
            while not self._stop.wait(0.002):
                if choices.random() < 0.25:
                    self._list(client, choices.choice(list(self._gateways)), name)
                else:
                    self._look(client, choices.choice(TAGS), name, choices.choice(("GET", "GET", "HEAD")))

    def _list(self, client: V2Client, writer: str, name: str) -> None:
        """Which tag of a writer's is the last one in the list of all."""
        with self._recorder.read(_series(writer), name) as read:
            try:
                answer = client.http.get(f"/v2/{REPOSITORY}/tags/list")
            except httpx.TransportError:
                return
            if expect(answer, 200, 503).status_code == 200:
                made = (tag for tag in answer.json()["tags"] if tag.startswith(_series(writer)))
                read.value = max(made, default=NOTHING)

    def _look(self, client: V2Client, tag: str, name: str, method: str) -> None:
        with self._recorder.read(tag, name) as read:
            try:
                answer = client.http.request(
                    method, f"/v2/{REPOSITORY}/manifests/{tag}", headers={"accept": ACCEPT_ALL}
                )
            except httpx.TransportError:
                return
            if answer.status_code == 404:
                read.value = NOTHING
            elif expect(answer, 200, 503).status_code == 200:
                read.value = answer.headers["docker-content-digest"]
                if method == "GET":
                    assert digest_of(answer.content) == read.value

    def _write(self, name: str, url: str) -> None:
        choices = random.Random(f"{SEED}-{name}")
        with V2Client(url, timeout=8) as client:
            count = 0
            while not self._stop.wait(choices.uniform(0.02, 0.2)):
                count += 1
                manifest = _manifest(f"{name}-{count}")
                tag, value = choices.choice(TAGS), manifest.digest
                register = tag
                if choices.random() < 0.3:
                    register = _series(name.removesuffix("-writer-0"))
                    tag = value = f"{register}{count:06d}"
                with self._recorder.write(register, value, name) as write:
                    try:
                        answer = client.put_manifest(REPOSITORY, tag, manifest)
                    except httpx.TransportError:
                        continue
                    write.acknowledged = expect(answer, 201, 503).status_code == 201


def _series(gateway: str) -> str:
    """How the tags begin that the writer on a gateway makes, each after the one before."""
    return f"made-through-{gateway}-"


def _manifest(name: str) -> Content:
    body = {**json.loads(IMAGE.manifest.content), "annotations": {"org.example.write": name}}
    return Content(IMAGE.manifest.media_type, json.dumps(body).encode())


class TwoGateways:
    """A registry with two gateways; the second one's memory is watched."""

    def __init__(self, stack: Stack, second: Stack, debug: str) -> None:
        self.stack = stack
        self.second = second
        self._debug = debug
        with V2Client(stack.url) as client:
            client.push_image(REPOSITORY, IMAGE.manifest.digest, IMAGE)
        self.clients = Clients({"first": stack.url, "second": second.url})

    def run(self, disturb: Callable[[], None]) -> None:
        """Let clients push and pull for SECONDS while `disturb` is called again and again, then check.

        For a minute longer where the machine is so slow that little comes from memory between two calls.
        """
        before = {kind: self.hits(kind) for kind in ("manifest", "tags")}

        def found() -> dict[str, float]:
            return {kind: self.hits(kind) - hits for kind, hits in before.items()}

        end = time.monotonic() + SECONDS
        with self.clients.running():
            while (now := time.monotonic()) < end or (now < end + 60 and min(found().values()) <= SECONDS):
                disturb()
        self.clients.check()
        for kind, hits in found().items():
            assert hits > SECONDS, f"only {hits:g} {kind} answers came from memory: the test proves nothing"

    def hits(self, kind: str) -> float:
        """How many answers of a kind the second gateway has had in its memory."""
        text = expect(httpx.get(f"http://{self._debug}/metrics"), 200).text
        pattern = rf'^moorage_gateway_memory_hits_total\{{[^}}]*"{kind}"[^}}]*\}} (\S+)$'
        found = re.findall(pattern, text, re.M)
        return sum(map(float, found))


@contextmanager
def two_gateways(stack: Stack, *, metadata: str = "") -> Iterator[TwoGateways]:
    debug = f"127.0.0.1:{free_port()}"
    env = {"REGISTRY_HTTP_DEBUG_ADDR": debug, "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED": "true"}
    with stack.another_gateway(metadata=metadata, env=env) as second:
        yield TwoGateways(stack, second, debug)


@contextmanager
def network_to(stack: Stack, service: str) -> Iterator[tuple[str, Process]]:
    """A network of its own to a service that listens on TCP: its address, and the process that it is."""
    port = free_port()
    target = stack.target(service).rpartition(":")[2]
    network = Process(
        [sys.executable, forwarder.__file__, str(port), target], log=stack.folder / "network.log"
    )
    try:
        wait_until(lambda: accepts_connections(port), timeout=30, what="the network forwards")
        yield f"127.0.0.1:{port}", network
    finally:
        network.kill()


def interrupted(process: Process, pauses: random.Random, clients: Clients) -> None:
    """Stop a process for a while, and let it run for a while.

    Clients that ask at the end of the pause know of what was acknowledged during it: their question waits at
    the second gateway when it goes on, beside the revocations that it has not read.
    """
    with clients.latecomers("second") as ask:
        process.signal(signal.SIGSTOP)
        try:
            time.sleep(pauses.choice(PAUSES))
            ask()
            # Until what they ask has been sent.
            time.sleep(0.1)
        finally:
            process.signal(signal.SIGCONT)
    time.sleep(pauses.uniform(0.5, 1.5))


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_no_pull_finds_an_older_tag_while_nothing_happens_to_either_gateway(stack: Stack) -> None:
    with two_gateways(stack) as gateways:
        gateways.run(lambda: time.sleep(0.5))


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_no_pull_finds_an_older_tag_while_a_gateway_is_paused_and_goes_on(stack: Stack) -> None:
    pauses = random.Random(SEED)
    with two_gateways(stack) as gateways:
        process = gateways.second.processes["gateway"]
        gateways.run(lambda: interrupted(process, pauses, gateways.clients))


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_no_pull_finds_an_older_tag_while_a_gateway_is_cut_off_from_the_metadata_service(
    tmp_path: Path,
) -> None:
    pauses = random.Random(SEED)
    with (
        running_stack(tmp_path / "stack", tcp=True) as stack,
        network_to(stack, "metadata") as (address, network),
        two_gateways(stack, metadata=address) as gateways,
    ):
        gateways.run(lambda: interrupted(network, pauses, gateways.clients))


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_no_pull_finds_an_older_tag_while_the_metadata_service_is_killed_and_restarted(stack: Stack) -> None:
    choices = random.Random(SEED)

    def restart() -> None:
        stack.kill("metadata")
        time.sleep(choices.uniform(0, 0.5))
        stack.start("metadata")
        stack.wait_ready()
        # Beyond the wait for the leases of before: pushes go on, and there is something in memory again.
        time.sleep(choices.uniform(2.5, 4.5))

    with two_gateways(stack) as gateways:
        gateways.run(restart)


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_no_pull_finds_an_older_tag_while_the_metadata_service_is_restarted_behind_a_gateway_that_is_cut_off(
    tmp_path: Path,
) -> None:
    """The gateway relies on a lease of which the new process knows nothing."""
    lease = 6.0
    with running_stack(tmp_path / "stack", tcp=True) as stack:
        # Longer than a restart takes.
        stack.env = {**stack.env, "REGISTRY_SERVICES_METADATA_LEASE": f"{lease:g}s"}

        def restart() -> None:
            stack.kill("metadata")
            stack.start("metadata")
            stack.wait_ready()

        restart()
        with (
            network_to(stack, "metadata") as (address, network),
            two_gateways(stack, metadata=address) as gateways,
        ):

            def restart_unseen() -> None:
                # Until there is something in memory again.
                time.sleep(lease + 1)
                with gateways.clients.latecomers("second") as ask:
                    network.signal(signal.SIGSTOP)
                    try:
                        restart()
                        # Pushes through the other gateway would be acknowledged now if they did not wait.
                        time.sleep(1)
                        ask()
                        time.sleep(0.1)
                    finally:
                        network.signal(signal.SIGCONT)
                time.sleep(lease + 1)

            gateways.run(restart_unseen)
