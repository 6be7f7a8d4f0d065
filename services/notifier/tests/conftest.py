"""A real nats-server that a test can kill and start again, and a notifier that runs against it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

import support.nats
from moorage.config import Configuration, parse
from moorage.config.events import Stream
from moorage.events import Event, Source, Target
from moorage.events.stream import ensure_stream
from moorage.events.subjects import DEAD_LETTER_STREAM, STREAM, message_headers, subject
from moorage.rpc import Address, open_channel
from moorage.rpc.health import WEBHOOKS, wait_until_serving
from moorage.v1 import event_pb2_grpc
from notifier.main import SERVICE
from notifier.names import LEASE_BUCKET, consumer_name
from support.commands import Command
from support.registry import clean_environment
from support.subscriber import Subscriber, subscribing


class NatsServer:
    """One nats-server, which does not hold up the event loop of a test, and may ask for a password."""

    def __init__(self, server: support.nats.NatsServer) -> None:
        self._server = server
        self.port = server.port
        self.password = ""

    @property
    def url(self) -> str:
        credentials = f"moorage:{self.password}@" if self.password else ""
        return f"nats://{credentials}127.0.0.1:{self.port}"

    async def start(self, *, jetstream: bool = True) -> None:
        login = ("--user", "moorage", "--pass", self.password) if self.password else ()
        await asyncio.to_thread(self._server.start, *login, jetstream=jetstream)

    async def kill(self) -> None:
        """As a crash would."""
        await asyncio.to_thread(self._server.kill)


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running nats-server."""
    server = NatsServer(await asyncio.to_thread(support.nats.NatsServer, tmp_path / "nats"))
    yield server
    await server.kill()


@pytest.fixture
def jetstream() -> Callable[[NatsServer], contextlib.AbstractAsyncContextManager[nats.js.JetStreamContext]]:
    """A JetStream client of the test's own."""

    @asynccontextmanager
    async def connect(server: NatsServer) -> AsyncIterator[nats.js.JetStreamContext]:
        client = await nats.connect(server.url)
        try:
            yield client.jetstream()
        finally:
            await client.close()

    return connect


class RunningNotifier:
    """The notifier, running in this process, and its two gRPC services."""

    def __init__(self, config: Configuration) -> None:
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(SERVICE.run(config, self._stop))
        self._channel = open_channel(Address.parse(config.services.notifier.addr))
        self.status = event_pb2_grpc.NotifierStub(self._channel).StreamStatus
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def healthy(self, service: str = "") -> bool:
        asked = health_pb2.HealthCheckRequest(service=service)
        response = await self._health.Check(asked, timeout=5, wait_for_ready=True)
        return response.status == health_pb2.HealthCheckResponse.SERVING

    async def becomes(self, healthy: bool, service: str = "") -> None:
        async with asyncio.timeout(20):
            while await self.healthy(service) is not healthy:
                await asyncio.sleep(0.02)

    async def webhooks(self, *, well: bool) -> None:
        """Wait until the endpoints are well, or are not."""
        await self.becomes(well, WEBHOOKS)

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.wait_for(self._task, timeout=10)

    async def close(self) -> None:
        """Stop it, and ask it no more."""
        try:
            await self.stop()
        finally:
            await self._channel.close()


@pytest.fixture
def notifier(
    tmp_path: Path,
) -> Callable[[str], contextlib.AbstractAsyncContextManager[RunningNotifier]]:
    """Runs a notifier against the broker of that URL."""

    @asynccontextmanager
    async def run(url: str) -> AsyncIterator[RunningNotifier]:
        address = f"unix://{tmp_path}/run/notifier.sock"
        config = Configuration.model_validate(
            {
                "version": "0.1",
                "storage": {"inmemory": {}},
                "services": {"notifier": {"addr": address}, "nats": {"url": url}},
            }
        )
        running = RunningNotifier(config)
        try:
            yield running
        finally:
            await running.close()

    return run


class NotifierProcess(Command):
    """`moorage serve notifier` with a configuration."""

    def __init__(self, config: Path, document: str) -> None:
        config.write_text(document)
        super().__init__(["serve", "notifier", "-c", config], clean_environment())

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)


class Delivering:
    """A broker with the event stream, subscribers, and notifiers that deliver from one to the others."""

    def __init__(self, folder: Path, broker: NatsServer) -> None:
        self.broker = broker
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._runs = 0
        self._client: Client | None = None
        self._published = 0
        self._document = ""

    @property
    def js(self) -> JetStreamContext:
        assert self._client is not None
        return self._client.jetstream()

    async def __aenter__(self) -> Delivering:
        await self.connect()
        await ensure_stream(self.js, Stream())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self._client is not None:
            await self._client.close()

    async def connect(self) -> None:
        """A client of the test's own; anew after the broker was started again."""
        if self._client is not None:
            await self._client.close()
        self._client = await nats.connect(self.broker.url, allow_reconnect=False)

    async def subscriber(self, tls: ssl.SSLContext | None = None) -> Subscriber:
        return await self._stack.enter_async_context(subscribing(tls))

    def config(self, *endpoints: dict[str, Any], **notifications: Any) -> Configuration:
        self._runs += 1
        given = [
            {"name": f"hook{index}", "backoff": "100ms", "allowprivate": True, **endpoint}
            for index, endpoint in enumerate(endpoints)
        ]
        self._document = json.dumps(
            {
                "version": "0.1",
                "storage": {"inmemory": {}},
                "services": {
                    "notifier": {"addr": f"unix://{self._folder}/n{self._runs}.sock"},
                    "nats": {"url": self.broker.url},
                },
                "notifications": {"takeover": "1s", **notifications, "endpoints": given},
            }
        )
        return parse(self._document, {})

    async def notifier(self, *endpoints: dict[str, Any], **notifications: Any) -> RunningNotifier:
        """A notifier in this process, to be stopped by `stop`."""
        running = RunningNotifier(self.config(*endpoints, **notifications))
        self._stack.push_async_callback(running.close)
        await running.becomes(healthy=True)
        return running

    async def processes(self, count: int, *endpoints: dict[str, Any]) -> list[NotifierProcess]:
        """Notifiers in processes of their own, to be killed."""
        started = []
        for _ in range(count):
            config = self.config(*endpoints)
            process = NotifierProcess(self._folder / f"n{self._runs}.json", self._document)
            self._stack.callback(process.kill)
            started.append((process, open_channel(Address.parse(config.services.notifier.addr))))
        for process, channel in started:
            try:
                assert await wait_until_serving(channel, timeout=60), process.err
            finally:
                await channel.close()
        return [process for process, _ in started]

    async def command(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Run `moorage events` with the last notifier's configuration: what it prints, and complains of."""
        command = self.start_command(*arguments)
        assert await asyncio.to_thread(command.wait) == status, command.out + command.err
        return command.out, command.err

    def start_command(self, *arguments: str) -> Command:
        config = self._folder / "events.json"
        config.write_text(self._document)
        command = Command(["events", *arguments, "-c", config], clean_environment())
        self._stack.callback(command.kill)
        return command

    async def has_a_consumer(self) -> None:
        """Wait until an endpoint has its place in the stream, or somebody reads it."""
        async with asyncio.timeout(20):
            while not await self.js.consumers_info(STREAM):
                await asyncio.sleep(0.02)

    async def holder(self, endpoint: str) -> str:
        """Which notifier has the lease of an endpoint."""
        async with asyncio.timeout(20):
            while True:
                try:
                    bucket = await self.js.key_value(LEASE_BUCKET)
                    entry = await bucket.get(consumer_name(endpoint))
                    return str(json.loads(entry.value)["holder"])
                except NotFoundError:
                    await asyncio.sleep(0.02)

    async def dead_letters(self, count: int) -> list[RawStreamMsg]:
        """The dead letters, once there are so many."""
        async with asyncio.timeout(20):
            while True:
                try:
                    state = (await self.js.stream_info(DEAD_LETTER_STREAM)).state
                except NotFoundError:
                    state = None
                if state is not None and state.messages >= count:
                    break
                await asyncio.sleep(0.02)
        assert state.messages == count
        found = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            with contextlib.suppress(NotFoundError):  # it was replayed
                found.append(await self.js.get_msg(DEAD_LETTER_STREAM, sequence))
        return found

    def event(self, repository: str = "team/app", **fields: Any) -> Event:
        self._published += 1
        target = Target(
            repository=repository,
            media_type=fields.pop("media_type", "application/vnd.oci.image.manifest.v1+json"),
            digest=f"sha256:{self._published:064x}",
            size=self._published,
            tag=fields.pop("tag", "latest"),
        )
        return Event(
            id=str(uuid.uuid4()),
            timestamp=time.time_ns(),
            action=fields.pop("action", "push"),
            target=target,
            source=Source("registry.example:5000", "an-instance"),
            **fields,
        )

    async def publish(self, *events: Event) -> list[str]:
        """Put events into the stream, in this order; their ids."""
        for event in events:
            about = subject(event.action, event.target.repository)
            await self.js.publish(about, event.encode(), headers=message_headers(event.id))
        return [event.id for event in events]


@pytest.fixture
async def delivering(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Delivering]:
    async with Delivering(tmp_path, nats_server) as delivering:
        yield delivering
