"""When something behind the gateway is away, slow or broken."""

# ruff: noqa: N802  servicers have the contract's names

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from api_gateway.main import opened
from api_gateway.server import listen
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, RpcServer
from moorage.v1 import blob_pb2, blob_pb2_grpc, common_pb2, metadata_pb2, metadata_pb2_grpc

DIGEST = "sha256:" + "a" * 64
SIZE = 40 << 20


def code_of(answer: httpx.Response) -> str:
    return answer.json()["errors"][0]["code"]


@pytest.fixture
def fresh(start_registry):
    """A registry whose services a test may stop."""
    return start_registry()


def test_while_the_metadata_service_is_away_requests_are_unavailable_and_then_served_again(
    fresh, repository: str
) -> None:
    fresh.push_image(repository, "v1")
    with fresh.without(fresh.metadata):
        answer = fresh.client.get(f"/v2/{repository}/tags/list")
        assert (answer.status_code, code_of(answer)) == (503, "UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        assert fresh.client.get("/v2/").status_code == 200
    eventually_served(fresh, f"/v2/{repository}/tags/list")


def test_while_the_blob_service_is_away_uploads_and_blobs_are_unavailable_and_an_upload_goes_on_later(
    fresh, repository: str
) -> None:
    digest = fresh.push_blob(repository, b"content")
    location = fresh.start_upload(repository).headers["location"]
    with fresh.without(fresh.blob):
        attempts = [
            fresh.client.post(f"/v2/{repository}/blobs/uploads/"),
            fresh.client.get(location.partition("?")[0]),
            fresh.client.patch(location, content=bytes(100_000)),
            fresh.client.put(f"{location}&digest={digest}", content=b"content"),
            fresh.client.delete(location),
            fresh.client.get(f"/v2/{repository}/blobs/{digest}"),
        ]
        assert [(answer.status_code, code_of(answer)) for answer in attempts] == [(503, "UNAVAILABLE")] * 6
    eventually_served(fresh, f"/v2/{repository}/blobs/{digest}")
    assert fresh.client.put(f"{location}&digest={digest}", content=b"content").status_code == 201


def test_a_blob_whose_bytes_are_committed_is_linked_as_soon_as_the_metadata_service_is_back(
    fresh, repository: str
) -> None:
    location = fresh.start_upload(repository).headers["location"]
    digest = "sha256:" + hashlib.sha256(b"content").hexdigest()
    with ThreadPoolExecutor(1) as pool:
        with fresh.without(fresh.metadata):
            closing = pool.submit(fresh.client.put, f"{location}&digest={digest}", content=b"content")
            time.sleep(0.3)
            assert not closing.done()
        assert closing.result().status_code == 201
    assert fresh.client.get(f"/v2/{repository}/blobs/{digest}").content == b"content"


@pytest.mark.parametrize("name", ["blob", "metadata"])
def test_a_service_that_is_started_again_is_waited_for(fresh, repository: str, name: str) -> None:
    fresh.push_image(repository, "v1")
    upload = fresh.start_upload(repository).headers["docker-upload-uuid"]
    paths = {"blob": f"/v2/{repository}/blobs/uploads/{upload}", "metadata": f"/v2/{repository}/tags/list"}
    with ThreadPoolExecutor(1) as pool:
        with fresh.without(getattr(fresh, name)):
            # The gateway learns of it with the next packet.
            time.sleep(0.1)
            asking = pool.submit(fresh.client.get, paths[name])
            time.sleep(0.3)
            assert not asking.done()
        assert asking.result().status_code < 300


def test_a_service_that_stays_away_is_waited_for_once(fresh, repository: str) -> None:
    with fresh.without(fresh.metadata):
        assert fresh.client.get(f"/v2/{repository}/tags/list").status_code == 503
        started = time.monotonic()
        for _ in range(5):
            assert fresh.client.get(f"/v2/{repository}/tags/list").status_code == 503
        assert time.monotonic() - started < 1


def eventually_served(registry, path: str) -> None:
    """A channel reconnects with a backoff of two seconds at most."""
    deadline = time.monotonic() + 10
    while (answer := registry.client.get(path)).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer.status_code == 200


# A blob service and a metadata service that misbehave on purpose. The real ones never do, so here they are
# played; gateway, gRPC and HTTP are real.


class Store(blob_pb2_grpc.BlobStoreServicer):
    """Sends as much of a blob as its repository's name asks for, and notes how its calls end."""

    def __init__(self) -> None:
        self.sent = 0
        self.cancelled = asyncio.Event()

    async def Read(self, request, context):
        try:
            async for message in self._messages(request):
                yield message
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def _messages(self, request):
        limit = {"a": SIZE, "b": SIZE // 2, "c": SIZE // 2, "d": 0, "e": 1 << 20}[request.digest[7]]
        for _ in range(0, limit, 1 << 20):
            yield blob_pb2.ReadResponse(data=bytes(1 << 20))
            self.sent += 1 << 20
        match request.digest[7]:
            case "b":
                raise RegistryError(ErrorCode.UNAVAILABLE, "the storage failed")
            case "d":
                raise RegistryError(ErrorCode.BLOB_UNKNOWN)
            case "e":
                await asyncio.sleep(60)


class Names(metadata_pb2_grpc.MetadataServicer):
    """Links every blob to every repository, and answers about tags never or with nonsense."""

    async def Resolve(self, request, context):
        response = metadata_pb2.ResolveResponse()
        for query in request.queries:
            response.answers.add().blob.descriptor.CopyFrom(
                common_pb2.Descriptor(
                    media_type="application/octet-stream",
                    digest=query.blob.digest,
                    size=SIZE,
                )
            )
        return response

    async def ListTags(self, request, context):
        if request.repository == "slow":
            await asyncio.sleep(60)
        raise ZeroDivisionError("secret: /srv/data")


@pytest.fixture(scope="module")
def played(start_registry, loop_thread):
    """A gateway in front of services that are played; the blob service that plays."""
    registry = start_registry(alone=True, services={"timeout": "500ms", "blobtimeout": "1s"})
    store = Store()

    async def start() -> list[RpcServer]:
        blobs = RpcServer(Address.parse(registry.config.services.blob.addr[0]))
        blobs.add("moorage.v1.BlobStore", lambda s: blob_pb2_grpc.add_BlobStoreServicer_to_server(store, s))
        names = RpcServer(Address.parse(registry.config.services.metadata.addr))
        names.add(
            "moorage.v1.Metadata", lambda s: metadata_pb2_grpc.add_MetadataServicer_to_server(Names(), s)
        )
        for server in (blobs, names):
            await server.start()
            await server.serving(True)
        return [blobs, names]

    async def stop(servers: list[RpcServer]) -> None:
        for server in servers:
            await server.stop(0)

    servers = loop_thread.run(start())
    yield registry, store
    loop_thread.run(stop(servers))


def blob(first: str) -> str:
    return f"/v2/a/blobs/sha256:{first}{'0' * 63}"


def test_a_service_that_does_not_answer_in_time_is_unavailable(played) -> None:
    registry, _ = played
    answer = registry.client.get("/v2/slow/tags/list")
    assert (answer.status_code, code_of(answer)) == (503, "UNAVAILABLE")


def test_a_fault_is_answered_without_its_text(played) -> None:
    registry, _ = played
    answer = registry.client.get("/v2/broken/tags/list")
    assert (answer.status_code, code_of(answer)) == (500, "UNKNOWN")
    assert "secret" not in answer.text


def test_a_blob_that_is_linked_and_not_there_is_unknown(played) -> None:
    registry, _ = played
    answer = registry.client.get(blob("d"))
    assert (answer.status_code, code_of(answer)) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("first", ["b", "c", "e"])
def test_a_blob_that_breaks_off_is_never_taken_for_whole(played, first: str) -> None:
    registry, _ = played
    with registry.client.stream("GET", blob(first)) as answer:
        assert answer.status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            answer.read()


def test_of_a_blob_that_nobody_takes_only_a_little_is_read(played) -> None:
    registry, store = played
    store.sent = 0
    with registry.connect() as connection:
        connection.sendall(f"GET {blob('a')} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        time.sleep(0.5)
        assert 0 < store.sent < SIZE // 2


def test_when_the_client_goes_away_the_read_is_cancelled(played, loop_thread) -> None:
    registry, store = played
    store.cancelled.clear()
    with registry.connect() as connection:
        connection.sendall(f"GET {blob('a')} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        connection.recv(1000)
    loop_thread.run(asyncio.wait_for(store.cancelled.wait(), 5))


async def test_a_gateway_that_cannot_have_its_address_says_which(start_registry) -> None:
    registry = start_registry(alone=True)
    taken = registry.config.http.model_copy(update={"addr": registry.host})
    with pytest.raises(OSError, match=f"cannot listen on {registry.host}: "):
        listen(registry.config.model_copy(update={"http": taken}))


async def test_a_gateway_that_cannot_have_its_debug_address_leaves_nothing_open(start_registry) -> None:
    registry = start_registry(alone=True)
    debug = registry.config.http.debug.model_copy(update={"addr": registry.host})
    http = registry.config.http.model_copy(update={"debug": debug})
    config = registry.config.model_copy(update={"http": http})
    listener = listen(config)
    with pytest.raises(OSError, match="in use"):
        async with opened(config, listener):
            pass
    assert listener.fileno() == -1
