from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moorage import context
from moorage.errors import ErrorCode, ErrorEntry, RegistryError
from moorage.rpc import Address, RpcServer, open_channel, rpc_errors, unary, wait_until_serving
from moorage.v1 import blob_pb2, blob_pb2_grpc


class FailingStore(blob_pb2_grpc.BlobStoreServicer):
    """Answers each digest with the failure that its name asks for."""

    def __init__(self) -> None:
        self.seen_request_id = ""

    async def Stat(self, request, servicer_context):  # noqa: N802  the contract's name
        self.seen_request_id = context.request_id.get()
        match request.digests[0]:
            case "several":
                raise RegistryError.of(
                    [
                        ErrorEntry(ErrorCode.MANIFEST_BLOB_UNKNOWN, {"digest": "a"}),
                        ErrorEntry(ErrorCode.MANIFEST_BLOB_UNKNOWN, {"digest": "b"}),
                    ]
                )
            case "hundreds":
                raise RegistryError.of(
                    [
                        ErrorEntry(ErrorCode.MANIFEST_BLOB_UNKNOWN, {"digest": f"sha512:{n:0128x}"})
                        for n in range(300)
                    ]
                )
            case "status":
                raise RegistryError(ErrorCode.MANIFEST_INVALID, "too large", http_status=413)
            case "crash":
                raise RuntimeError("secret path /srv/data")
            case "hang":
                await asyncio.sleep(30)
        return blob_pb2.StatResponse()

    async def Read(self, request, servicer_context):  # noqa: N802  the contract's name
        yield blob_pb2.ReadResponse(data=b"first")
        raise RegistryError(ErrorCode.BLOB_UNKNOWN, {"digest": request.digest})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[tuple[FailingStore, blob_pb2_grpc.BlobStoreAsyncStub]]:
    address = Address.parse(f"unix://{tmp_path}/run/blob.sock")
    server = RpcServer(address)
    servicer = FailingStore()
    server.add("moorage.v1.BlobStore", lambda s: blob_pb2_grpc.add_BlobStoreServicer_to_server(servicer, s))
    await server.start()
    await server.serving(True)
    channel = open_channel(address)
    yield servicer, blob_pb2_grpc.BlobStoreStub(channel)
    await channel.close()
    await server.stop(0)


async def stat(stub, digest: str, timeout: float = 5) -> blob_pb2.StatResponse:
    return await unary(stub.Stat, blob_pb2.StatRequest(digests=[digest]), timeout=timeout)


async def test_an_error_keeps_its_code_and_detail_for_each_entry(store) -> None:
    with pytest.raises(RegistryError) as caught:
        await stat(store[1], "several")
    assert [entry.detail for entry in caught.value.entries] == [{"digest": "a"}, {"digest": "b"}]
    assert caught.value.code is ErrorCode.MANIFEST_BLOB_UNKNOWN


async def test_an_error_of_hundreds_of_entries_arrives_whole(store) -> None:
    with pytest.raises(RegistryError) as caught:
        await stat(store[1], "hundreds")
    assert len(caught.value.entries) == 300


async def test_an_error_keeps_a_status_of_its_own(store) -> None:
    with pytest.raises(RegistryError) as caught:
        await stat(store[1], "status")
    assert (caught.value.http_status, caught.value.code) == (413, ErrorCode.MANIFEST_INVALID)


async def test_an_unexpected_error_arrives_as_unknown_without_its_text(store) -> None:
    with pytest.raises(RegistryError) as caught:
        await stat(store[1], "crash")
    assert caught.value.code is ErrorCode.UNKNOWN
    assert "secret" not in str(caught.value)


async def test_a_deadline_that_passes_is_unavailable(store) -> None:
    with pytest.raises(RegistryError) as caught:
        await stat(store[1], "hang", timeout=0.2)
    assert caught.value.code is ErrorCode.UNAVAILABLE


async def test_an_error_in_mid_stream_follows_what_was_sent(store) -> None:
    received = []

    async def read() -> None:
        with rpc_errors():
            async for response in store[1].Read(blob_pb2.ReadRequest(digest="x"), timeout=5):
                received.append(response.data)

    with pytest.raises(RegistryError) as caught:
        await read()
    assert received == [b"first"]
    assert caught.value.entries[0].detail == {"digest": "x"}


async def test_the_request_id_travels_with_the_call(store) -> None:
    context.request_id.set("id-of-the-request")
    await stat(store[1], "ok")
    assert store[0].seen_request_id == "id-of-the-request"


async def test_a_service_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    channel = open_channel(Address.parse(f"unix://{tmp_path}/nobody.sock"))
    with pytest.raises(RegistryError) as caught:
        await stat(blob_pb2_grpc.BlobStoreStub(channel), "ok", timeout=1)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    await channel.close()


async def test_health_and_reflection_are_served(tmp_path: Path) -> None:
    address = Address.parse(f"unix://{tmp_path}/run/svc.sock")
    server = RpcServer(address)
    await server.start()
    channel = open_channel(address)
    stub = health_pb2_grpc.HealthStub(channel)
    before = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    await server.serving(True)
    assert before.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await wait_until_serving(channel, timeout=5)
    await channel.close()
    await server.stop(0)


async def test_a_service_that_cannot_do_its_work_is_alive_all_the_same(tmp_path: Path) -> None:
    address = Address.parse(f"unix://{tmp_path}/s.sock")
    server = RpcServer(address)
    await server.start()
    channel = open_channel(address)
    stub = health_pb2_grpc.HealthStub(channel)
    states = health_pb2.HealthCheckResponse
    try:
        for ready, state in (
            (False, states.NOT_SERVING),
            (True, states.SERVING),
            (False, states.NOT_SERVING),
        ):
            await server.serving(ready)
            assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)).status == state
            alive = await stub.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=10)
            assert alive.status == states.SERVING
    finally:
        await channel.close(None)
        await server.stop(0)


async def test_the_socket_is_ours_alone(store, tmp_path: Path) -> None:
    assert (tmp_path / "run/blob.sock").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


async def test_a_socket_left_by_a_crash_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("somebody's file")
    with pytest.raises(OSError, match="not a socket"):
        await RpcServer(Address.parse(f"unix://{path}")).start()
    assert path.read_text() == "somebody's file"
