"""The real stack in this process: blob service, metadata service and gateway on one event loop in a thread.

Tests are clients: they speak HTTP over TCP, with httpx or with a socket of their own.
"""

# ruff: noqa: N802  servicers have the contract's names

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import socket
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvloop
import yaml

from api_gateway.main import opened
from api_gateway.server import listen
from blob_service.main import SERVICE as BLOB
from metadata_service.main import SERVICE as METADATA
from moorage.config import Configuration, parse
from moorage.config.tls import SERVICES
from moorage.rpc import Address, Channel, RpcServer, Security, open_channel, wait_until_serving
from moorage.service import Service
from moorage.v1 import metadata_pb2, metadata_pb2_grpc
from support.processes import free_port
from support.tls import Certificates
from support.ways import chosen_way, service_settings

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
ACCEPT = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


class LoopThread:
    """An event loop of the kind that the services run on, in a thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="registry under test")
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float = 60) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def close(self) -> None:
        self.run(self.loop.shutdown_asyncgens())
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class RunningService:
    """A service that can be stopped and started again."""

    def __init__(self, service: Service, address: str) -> None:
        self._service = service
        self._address = address
        self._task: asyncio.Task[None] | None = None

    async def start(self, config: Configuration) -> None:
        self._stop = asyncio.Event()
        if self._service is BLOB:
            # An instance has one address, its own.
            own: dict[str, Any] = {"addr": (self._address,)}
            if config.services.blob.dataport:
                own["dataport"] = free_port()
            blob = config.services.blob.model_copy(update=own)
            services = config.services.model_copy(update={"blob": blob})
            config = config.model_copy(update={"services": services})
        self._task = asyncio.ensure_future(self._service.run(config, self._stop))
        security = Security.of(config, "gateway")
        channel = open_channel(Address.parse(self._address), security, to=self._service.name)
        try:
            assert await wait_until_serving(channel, timeout=20), self._task
        finally:
            await channel.close(None)

    async def stop(self) -> None:
        if self._task is not None:
            self._stop.set()
            await self._task
            self._task = None


class PlayedLease:
    """One stream of a metadata service that is played: what came in, and what goes out."""

    def __init__(self) -> None:
        self._incoming: asyncio.Queue[metadata_pb2.LeaseRequest] = asyncio.Queue()
        self._outgoing: asyncio.Queue[metadata_pb2.LeaseResponse | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def requests(self, kind: str) -> metadata_pb2.LeaseRequest:
        """The next message of the gateway, which is of this kind."""
        async with asyncio.timeout(10):
            message = await self._incoming.get()
        assert message.WhichOneof("message") == kind
        return message

    def grant(self, lease: str, seconds: float) -> None:
        granted = metadata_pb2.LeaseResponse.Granted(lease=lease, milliseconds=int(seconds * 1000))
        self._outgoing.put_nowait(metadata_pb2.LeaseResponse(granted=granted))

    def revoke(self, number: int, repository: str, *, tags: Sequence[str] = ()) -> None:
        revocation = metadata_pb2.LeaseResponse.Revocation(number=number, repository=repository, tags=tags)
        self._outgoing.put_nowait(metadata_pb2.LeaseResponse(revocation=revocation))

    def end(self) -> None:
        self._outgoing.put_nowait(None)

    async def serve(self, requests: AsyncIterator[metadata_pb2.LeaseRequest]) -> AsyncIterator[Any]:
        reading = asyncio.ensure_future(self._read(requests))
        try:
            while (message := await self._outgoing.get()) is not None:
                yield message
        finally:
            reading.cancel()
            self.closed.set()

    async def _read(self, requests: AsyncIterator[metadata_pb2.LeaseRequest]) -> None:
        async for message in requests:
            self._incoming.put_nowait(message)
            if message.HasField("release"):
                self.end()


class PlayedMetadata(metadata_pb2_grpc.MetadataServicer):
    """A metadata service that does what a test tells it, behind real gRPC; `answer` answers one query."""

    def __init__(self, address: str) -> None:
        self.address = Address.parse(address)
        self.resolved: list[metadata_pb2.ResolveRequest] = []
        self.streams: asyncio.Queue[PlayedLease] = asyncio.Queue()
        self.answer: Callable[[metadata_pb2.ResolveRequest.Query], metadata_pb2.ResolveResponse.Answer]
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def Resolve(self, request, context):
        self.resolved.append(request)
        answers = [self.answer(query) for query in request.queries]
        await self.may_answer.wait()
        return metadata_pb2.ResolveResponse(answers=answers)

    async def Lease(self, requests, context):
        stream = PlayedLease()
        self.streams.put_nowait(stream)
        async with aclosing(stream.serve(requests)) as messages:
            async for message in messages:
                yield message

    async def stream(self) -> PlayedLease:
        """The next stream that the gateway opens."""
        async with asyncio.timeout(10):
            return await self.streams.get()

    async def calls(self, number: int) -> None:
        """Wait for so many calls of Resolve."""
        async with asyncio.timeout(10):
            while len(self.resolved) < number:
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while the context is open."""
        server = RpcServer(self.address)
        server.add("moorage.v1.Metadata", lambda s: metadata_pb2_grpc.add_MetadataServicer_to_server(self, s))
        await server.start()
        await server.serving(True)
        try:
            yield
        finally:
            await server.stop(0)


class Registry:
    """A registry of all services, and a client of it."""

    def __init__(
        self, loop: LoopThread, folder: Path, settings: dict[str, Any], *, alone: bool = False
    ) -> None:
        self._loop = loop
        self._alone = alone
        # The path of a unix socket is short; a test's folder need not be.
        self._sockets = tempfile.TemporaryDirectory(prefix="gw-")
        self.root = folder / "registry"
        document: dict[str, Any] = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(self.root)}, "delete": {"enabled": True}},
            "http": {"addr": "127.0.0.1:0", "secret": "of this test", "draintimeout": "1s"},
            "log": {"accesslog": {"disabled": True}},
            "services": {
                "blob": {"addr": [f"unix://{self._sockets.name}/blob.sock"], "workers": 1},
                # A metadata service that was just started waits as long as a lease before it moves a tag.
                "metadata": {"addr": f"unix://{self._sockets.name}/metadata.sock", "lease": "500ms"},
                "timeout": "5s",
            },
        }
        way = chosen_way()
        self.certificates = Certificates(folder / "tls") if way == "tls" else None
        if self.certificates is not None:
            self.certificates.issue("listener")
            document = merged(document, {"http": {"tls": self.certificates.http()}})
        document = merged(document, {"services": service_settings(way)})
        if way == "spliced":
            # Each instance has a data port of its own, and tells it with its tickets.
            blob = {"addr": [f"127.0.0.1:{free_port()}"], "dataport": free_port()}
            services = Certificates(folder / "services")
            services.of_services(*SERVICES)
            document = merged(document, {"services": {"blob": blob, "tls": services.services()}})
        self.config = parse(yaml.safe_dump(merged(document, settings)), {})
        self.blobs = [RunningService(BLOB, address) for address in self.config.services.blob.addr]
        self.blob = self.blobs[0]
        self.metadata = RunningService(METADATA, self.config.services.metadata.addr)
        self._gateway: contextlib.AbstractAsyncContextManager[None] | None = None
        loop.run(self._start())
        self.client = self.new_client()

    async def _start(self) -> None:
        if not self._alone:
            for blob in self.blobs:
                await blob.start(self.config)
            await self.metadata.start(self.config)
        await self._start_gateway()

    async def _start_gateway(self) -> None:
        listener = listen(self.config)
        self.address = listener.getsockname()
        self._gateway = opened(self.config, listener)
        await self._gateway.__aenter__()

    async def _stop(self) -> None:
        assert self._gateway is not None
        await self._gateway.__aexit__(None, None, None)
        await self.metadata.stop()
        for blob in self.blobs:
            await blob.stop()

    def close(self) -> None:
        self.client.close()
        self._loop.run(self._stop())
        self._sockets.cleanup()

    @contextlib.contextmanager
    def without(self, service: RunningService) -> Iterator[None]:
        """The registry while one of its services is away."""
        self._loop.run(service.stop())
        try:
            yield
        finally:
            self._loop.run(service.start(self.config))

    @contextlib.contextmanager
    def without_gateway(self) -> Iterator[None]:
        """The registry between one gateway, which drains, and the next."""
        assert self._gateway is not None
        self.client.close()
        self._loop.run(self._gateway.__aexit__(None, None, None))
        try:
            yield
        finally:
            self._loop.run(self._start_gateway())
            self.client = self.new_client()

    @contextlib.contextmanager
    def second_gateway(self) -> Iterator[httpx.Client]:
        """A client of another gateway in front of the same services."""
        listener = listen(self.config)
        host, port = listener.getsockname()
        gateway = opened(self.config, listener)
        self._loop.run(gateway.__aenter__())
        try:
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=20) as client:
                yield client
        finally:
            self._loop.run(gateway.__aexit__(None, None, None))

    # HTTP

    @property
    def host(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def scheme(self) -> str:
        return "https" if self.config.http.tls.is_on else "http"

    def new_client(self, **options: Any) -> httpx.Client:
        if self.certificates is not None:
            options.setdefault("verify", self.certificates.client())
        if self.config.http.net == "unix":
            options["transport"] = httpx.HTTPTransport(uds=self.config.http.addr)
            return httpx.Client(base_url="http://registry.test", timeout=20, **options)
        return httpx.Client(base_url=self.url, timeout=20, **options)

    def connect(self) -> socket.socket:
        """A connection for what httpx cannot say."""
        connection = socket.create_connection(self.address[:2], timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.certificates is not None:
            context = self.certificates.client()
            return context.wrap_socket(connection, server_hostname=str(self.address[0]))
        return connection

    def raw(self, request: bytes) -> bytes:
        """Send these bytes, and read until the server closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    # What registry clients do

    def start_upload(self, repository: str, **query: str) -> httpx.Response:
        answer = self.client.post(f"/v2/{repository}/blobs/uploads/", params=query)
        assert answer.status_code == 202, answer.text
        return answer

    def push_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(content, algorithm)
        location = self.start_upload(repository).headers["location"]
        answer = self.client.put(location, params=with_query(location, digest=digest), content=content)
        assert answer.status_code == 201, answer.text
        return digest

    def image(self, repository: str, **fields: Any) -> bytes:
        """The bytes of a manifest whose configuration and layer are in the repository."""
        config = json.dumps({"made": str(uuid.uuid4())}).encode()
        layer = uuid.uuid4().bytes
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": self.push_blob(repository, config),
                "size": len(config),
            },
            "layers": [
                {"mediaType": OCI_LAYER, "digest": self.push_blob(repository, layer), "size": len(layer)}
            ],
            **fields,
        }
        return json.dumps(manifest).encode()

    def put_manifest(
        self, repository: str, reference: str, content: bytes, media_type: str = OCI_MANIFEST, **query: Any
    ) -> httpx.Response:
        return self.client.put(
            f"/v2/{repository}/manifests/{reference}",
            params=query,
            content=content,
            headers={"Content-Type": media_type},
        )

    def push_image(self, repository: str, tag: str = "latest", **fields: Any) -> tuple[str, bytes]:
        content = self.image(repository, **fields)
        answer = self.put_manifest(repository, tag, content)
        assert answer.status_code == 201, answer.text
        return digest_of(content), content

    def stored_paths(self) -> set[str]:
        """Every file and folder under the storage root."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The settings of `base` with those of `changes`; None takes a setting away."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def with_query(location: str, **further: str) -> dict[str, str]:
    """The query parameters of a Location and further ones."""
    return {**httpx.URL(location).params, **further}


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def codes(answer: httpx.Response) -> list[str]:
    """The error codes of an envelope."""
    assert answer.headers["content-type"] == "application/json"
    return [error["code"] for error in answer.json()["errors"]]


@pytest.fixture(scope="module", autouse=True)
def quiet_log() -> Iterator[None]:
    """Without this, structlog prints every debug line of three services."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="module")
def start_registry(
    loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Registry]]:
    """Starts registries with settings that change the default ones; `alone`, no services are behind them."""
    started: list[Registry] = []

    def start(*, alone: bool = False, **settings: Any) -> Registry:
        registry = Registry(loop_thread, tmp_path_factory.mktemp("registry"), settings, alone=alone)
        started.append(registry)
        return registry

    yield start
    for registry in reversed(started):
        registry.close()


@pytest.fixture(scope="module")
def registry(start_registry: Callable[..., Registry]) -> Registry:
    """A registry with default settings, where deletion is on."""
    return start_registry()


@pytest.fixture
def repository() -> str:
    """A repository that no other test knows."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
def absent_metadata(short_folder: Path) -> PlayedMetadata:
    """A metadata service that is played, once it serves."""
    return PlayedMetadata(f"unix://{short_folder}/{uuid.uuid4().hex[:8]}.sock")


@pytest.fixture
async def played_metadata(absent_metadata: PlayedMetadata) -> AsyncIterator[PlayedMetadata]:
    """A metadata service that is played, on this test's event loop."""
    async with absent_metadata.serving():
        yield absent_metadata


@pytest.fixture
async def metadata_channel(played_metadata: PlayedMetadata) -> AsyncIterator[Channel]:
    channel = open_channel(played_metadata.address)
    yield channel
    await channel.close(None)


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a unix socket's name."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        yield Path(folder)
