"""Small blobs, from a blob service that is played."""

# ruff: noqa: N802  servicers have the contract's names

from __future__ import annotations

import uuid

import pytest

from api_gateway.clients.contents import SMALL, SmallBlobs
from api_gateway.clients.instances import BlobInstances
from api_gateway.memory import LinkedBlob, Memory
from moorage.config import parse
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, RpcServer
from moorage.v1 import blob_pb2, blob_pb2_grpc

DIGEST = "sha256:" + "a" * 64
SERVICES = parse("{version: 0.1, storage: inmemory}", {}).services
BLOB = LinkedBlob.of(DIGEST, DIGEST, 5)


class Store(blob_pb2_grpc.BlobStoreServicer):
    """Gives every blob the same bytes, or an error."""

    def __init__(self) -> None:
        self.requests: list[blob_pb2.GetRequest] = []
        self.content = b"bytes"
        self.error: RegistryError | None = None

    async def Get(self, request, context):
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return blob_pb2.GetResponse(content=self.content)


@pytest.fixture
async def store(short_folder):
    store = Store()
    store.address = f"unix://{short_folder}/{uuid.uuid4().hex[:8]}.sock"
    server = RpcServer(Address.parse(store.address))
    server.add("moorage.v1.BlobStore", lambda s: blob_pb2_grpc.add_BlobStoreServicer_to_server(store, s))
    await server.start()
    yield store
    await server.stop(0)


@pytest.fixture
async def small(store: Store):
    instances = BlobInstances([store.address], SERVICES)
    yield SmallBlobs(instances, Memory(1 << 20), timeout=5)
    await instances.close()


async def test_a_small_blob_is_fetched_once(small: SmallBlobs, store: Store) -> None:
    assert [await small.content(BLOB) for _ in range(3)] == [b"bytes"] * 3
    assert [(request.digest, request.max_size) for request in store.requests] == [(DIGEST, SMALL)]


async def test_a_blob_of_another_length_than_its_descriptor_says_is_not_served_or_kept(
    small: SmallBlobs, store: Store
) -> None:
    too_large = RegistryError(ErrorCode.SIZE_INVALID, {"size": 1 << 20}, http_status=413)
    for store.content, store.error in [(b"byte", None), (b"bytes and more", None), (b"", too_large)]:
        with pytest.raises(RegistryError) as raised:
            await small.content(BLOB)
        assert raised.value.code is ErrorCode.UNKNOWN
    store.content, store.error = b"bytes", None
    assert await small.content(BLOB) == b"bytes"


async def test_a_blob_that_is_not_there_is_unknown_and_that_is_not_kept(
    small: SmallBlobs, store: Store
) -> None:
    store.error = RegistryError(ErrorCode.BLOB_UNKNOWN)
    with pytest.raises(RegistryError) as raised:
        await small.content(BLOB)
    assert raised.value.code is ErrorCode.BLOB_UNKNOWN
    store.error = None
    assert await small.content(BLOB) == b"bytes"


async def test_while_the_service_is_unavailable_small_blobs_are_to_be_read_as_large_ones_are(
    small: SmallBlobs, store: Store
) -> None:
    store.error = RegistryError(ErrorCode.UNAVAILABLE)
    assert await small.content(BLOB) is None
    store.error = None
    assert await small.content(BLOB) == b"bytes"


async def test_a_blob_over_64_kib_is_not_small_and_without_a_memory_none_is(
    small: SmallBlobs, store: Store
) -> None:
    store.content = bytes((64 << 10) + 1)
    assert await small.content(LinkedBlob.of(DIGEST, DIGEST, (64 << 10) + 1)) is None
    without = SmallBlobs(BlobInstances([], SERVICES), Memory(0), timeout=5)
    assert await without.content(BLOB) is None
    assert store.requests == []
    store.content = bytes(64 << 10)
    assert await small.content(LinkedBlob.of(DIGEST, DIGEST, 64 << 10)) == store.content
