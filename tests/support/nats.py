"""A real nats-server that a test can kill, pause and start again, and what is in its event stream."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors

from support.processes import Process, accepts_connections, free_port, wait_until

STREAM = "REGISTRY_EVENTS"
_BATCH = 1000


@dataclass(frozen=True)
class StoredEvent:
    """A message of the stream."""

    sequence: int
    subject: str
    headers: dict[str, str]
    document: dict[str, Any]

    @property
    def action(self) -> str:
        return self.document["action"]

    @property
    def target(self) -> dict[str, Any]:
        return self.document["target"]

    @property
    def repository(self) -> str:
        return self.target["repository"]


class NatsServer:
    """One nats-server with JetStream. It keeps its port and its data when it is started again."""

    def __init__(self, folder: Path, *, port: int | None = None, further: Sequence[str] = ()) -> None:
        """`further` are arguments that it has beside."""
        folder.mkdir(parents=True, exist_ok=True)
        self._further = further
        self.folder = folder
        self.port = port or free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: Process | None = None
        self.start()

    def start(self, *further: str, jetstream: bool = True) -> None:
        """Start it, this time with these arguments beside."""
        program = Path(sys.executable).with_name("nats-server")
        place = ["-a", "127.0.0.1", "-p", str(self.port)]
        store = ["-js", "-sd", str(self.folder / "data")] if jetstream else []
        self._process = Process(
            [program, *place, *store, *self._further, *further], log=self.folder / "nats.log"
        )
        wait_until(lambda: accepts_connections(self.port), timeout=20, what="nats-server listens")

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()

    def pause(self) -> None:
        """It keeps its connections, and says nothing any more."""
        assert self._process is not None
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.signal(signal.SIGCONT)

    def replicas(self) -> int:
        """On how many servers the stream is."""
        return replicas_at(self.url)

    def events(self, at_least: int = 0, *, timeout: float = 20) -> list[StoredEvent]:
        """What the stream holds, as soon as it holds so many."""
        return events_at(self.url, at_least, timeout=timeout)

    def events_of(
        self,
        repository: str,
        number: int,
        which: Callable[[StoredEvent], bool] = lambda _: True,
        *,
        timeout: float = 20,
    ) -> list[StoredEvent]:
        """The events of a repository (`which` of them), as soon as there are so many; fails for more."""
        deadline = time.monotonic() + timeout
        while True:
            found = [event for event in self.events() if event.repository == repository and which(event)]
            if len(found) >= number or time.monotonic() > deadline:
                assert len(found) == number, [(event.action, event.target) for event in found]
                return found
            time.sleep(0.02)


def replicas_at(url: str | list[str]) -> int:
    """On how many servers the stream of a broker is."""

    async def ask() -> int:
        client = await nats.connect(url, allow_reconnect=False)
        try:
            return int((await client.jetstream().stream_info(STREAM)).config.num_replicas or 0)
        finally:
            await client.close()

    return asyncio.run(ask())


def events_at(url: str | list[str], at_least: int = 0, *, timeout: float = 20) -> list[StoredEvent]:
    """What the stream of a broker holds, as soon as it holds so many. A cluster has several URLs."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return asyncio.run(_events(url, at_least, timeout))
        except (nats.errors.TimeoutError, nats.js.errors.ServiceUnavailableError):
            # A cluster that chooses a leader.
            if time.monotonic() > deadline:
                raise


async def _events(url: str | list[str], at_least: int, timeout: float) -> list[StoredEvent]:
    client = await nats.connect(url, allow_reconnect=False)
    try:
        jetstream = client.jetstream()
        deadline = time.monotonic() + timeout
        while True:
            try:
                number = (await jetstream.stream_info(STREAM)).state.messages
            except nats.js.errors.NotFoundError:
                number = 0
            if number >= at_least:
                break
            assert time.monotonic() < deadline, f"{number} events in the stream, not {at_least}"
            await asyncio.sleep(0.02)
        if not number:
            return []
        found: list[StoredEvent] = []
        reader = await jetstream.pull_subscribe(">", stream=STREAM)
        while len(found) < number:
            for message in await reader.fetch(min(_BATCH, number - len(found)), timeout=timeout):
                sequence = message.metadata.sequence.stream
                document = json.loads(message.data)
                found.append(StoredEvent(sequence, message.subject, dict(message.headers or {}), document))
                await message.ack()
        await reader.unsubscribe()
        return found
    finally:
        await client.close()


@contextmanager
def running_nats(folder: Path) -> Iterator[NatsServer]:
    server = NatsServer(folder)
    try:
        yield server
    finally:
        server.resume()
        server.kill()


@contextmanager
def running_nats_cluster(folder: Path, size: int) -> Iterator[list[NatsServer]]:
    """Servers that make one cluster, with a leader."""
    ports = [free_port() for _ in range(size)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        servers = []
        for number, port in enumerate(ports):
            cluster = ["--cluster_name", "test", "--cluster", f"nats://127.0.0.1:{port}", "--routes", routes]
            server = NatsServer(folder / f"nats-{number}", further=["-n", f"nats-{number}", *cluster])
            stack.callback(server.kill)
            servers.append(server)
        wait_until(
            lambda: asyncio.run(_has_leader(servers[0].url)), timeout=30, what="the cluster has a leader"
        )
        yield servers


async def _has_leader(url: str) -> bool:
    client = await nats.connect(url, allow_reconnect=False)
    try:
        await client.jetstream(timeout=1).account_info()
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
        return False
    finally:
        await client.close()
    return True
