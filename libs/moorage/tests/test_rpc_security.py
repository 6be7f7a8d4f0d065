"""Mutual TLS between services: who is taken for whom, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc

import moorage.v1.blob_pb2
import moorage.v1.event_pb2
import moorage.v1.metadata_pb2  # noqa: F401  its descriptors
from moorage.config import ConfigurationError
from moorage.rpc import Address, RpcServer, Security, open_channel
from moorage.rpc.security import CALLERS
from moorage.v1 import blob_pb2, blob_pb2_grpc
from support.processes import free_port
from support.tls import Certificates

SERVICES = ("gateway", "blob", "metadata", "notifier")


class Objects(blob_pb2_grpc.ObjectStoreServicer):
    """Answers one unary method and one stream."""

    async def GetObjects(self, request: Any, context: Any) -> Any:  # noqa: N802  the contract's name
        return blob_pb2.GetObjectsResponse()


class Blobs(blob_pb2_grpc.BlobStoreServicer):
    async def Read(self, request: Any, context: Any) -> Any:  # noqa: N802  the contract's name
        while True:
            yield blob_pb2.ReadResponse(data=b"piece")
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("services"))
    made.of_services(*SERVICES)
    return made


@asynccontextmanager
async def blob_service(of: Security) -> AsyncIterator[Address]:
    address = Address.parse(f"127.0.0.1:{free_port()}")
    server = RpcServer(address, of)
    server.add(
        "moorage.v1.ObjectStore", lambda s: blob_pb2_grpc.add_ObjectStoreServicer_to_server(Objects(), s)
    )
    server.add("moorage.v1.BlobStore", lambda s: blob_pb2_grpc.add_BlobStoreServicer_to_server(Blobs(), s))
    await server.start()
    await server.serving(True)
    try:
        yield address
    finally:
        await server.stop(0)


@pytest.fixture
async def serving(certificates) -> AsyncIterator[Address]:
    async with blob_service(certificates.security("blob")) as address:
        yield address


async def get(address: Address, of: Security | None, *, to: str = "blob") -> grpc.StatusCode:
    """How a call of the object store ends."""
    channel = open_channel(address, of, to=to)
    try:
        await blob_pb2_grpc.ObjectStoreStub(channel).GetObjects(blob_pb2.GetObjectsRequest(), timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        await channel.close(None)
    return grpc.StatusCode.OK


async def test_a_service_that_may_call_is_answered(serving, certificates) -> None:
    assert await get(serving, certificates.security("metadata")) is grpc.StatusCode.OK


async def test_a_service_whose_address_was_found_under_a_name_is_called_by_that_of_its_certificate(
    serving, certificates
) -> None:
    found = replace(serving, name="blob-service")
    assert await get(found, certificates.security("metadata")) is grpc.StatusCode.OK


@pytest.mark.parametrize("service", ["gateway", "notifier", "blob"])
async def test_a_service_that_may_not_is_refused(serving, certificates, service: str) -> None:
    assert await get(serving, certificates.security(service)) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_is_refused_as_well(serving, certificates) -> None:
    channel = open_channel(serving, certificates.security("notifier"), to="blob")
    call = blob_pb2_grpc.BlobStoreStub(channel).Read(blob_pb2.ReadRequest(), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await channel.close(None)


async def test_whoever_has_no_certificate_gets_nowhere(serving, certificates) -> None:
    assert await get(serving, None) is grpc.StatusCode.UNAVAILABLE
    credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes())
    options = [("grpc.ssl_target_name_override", "blob.moorage")]
    async with grpc.aio.secure_channel(serving.target, credentials, options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_another_authority_s_certificate_gets_nowhere(serving, certificates, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path / "stranger")
    stranger.of_services("metadata")
    # It believes the service, but is not believed.
    (stranger.folder / "ca.crt").write_bytes(certificates.ca.read_bytes())
    assert await get(serving, stranger.security("metadata")) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_is_another_service_is_not_called(certificates) -> None:
    async with blob_service(certificates.security("notifier")) as address:
        assert await get(address, certificates.security("metadata")) is grpc.StatusCode.UNAVAILABLE
        assert await get(address, certificates.security("metadata"), to="notifier") is grpc.StatusCode.OK


async def test_every_service_may_ask_for_another_s_health(serving, certificates) -> None:
    async with open_channel(serving, certificates.security("notifier"), to="blob") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_unix_socket_has_permissions_instead(certificates, tmp_path: Path) -> None:
    server = RpcServer(Address(path=tmp_path / "s" / "blob.sock"), certificates.security("blob"))
    await server.start()
    try:
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "s" / "blob.sock").stat().st_mode & 0o777 == 0o600
        address = Address(path=tmp_path / "s" / "blob.sock")
        async with open_channel(address, certificates.security("gateway"), to="blob") as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    finally:
        await server.stop(0)


@pytest.fixture
def changing(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "changing")
    made.of_services(*SERVICES)
    return made


async def test_both_sides_change_to_a_new_authority_and_calls_under_way_go_on(
    changing, tmp_path: Path
) -> None:
    server, caller = changing.security("blob"), changing.security("gateway")
    async with blob_service(server) as address, open_channel(address, caller, to="blob") as channel:
        stub = blob_pb2_grpc.BlobStoreStub(channel)
        call = stub.Read(blob_pb2.ReadRequest(), timeout=30)
        assert (await call.read()).data == b"piece"

        successor = Certificates(tmp_path / "successor")
        successor.of_services(*SERVICES)
        for path in successor.folder.iterdir():
            path.replace(changing.folder / path.name)
        former = security_as_it_was(caller)
        server.check()
        caller.check()
        assert (server.generation, caller.generation) == (1, 1)

        async with asyncio.timeout(10):
            new_call = stub.Read(blob_pb2.ReadRequest(), timeout=30)
            assert (await new_call.read()).data == b"piece"
        assert (await call.read()).data == b"piece", "the stream that was open goes on"
        new_call.cancel()
        call.cancel()
        assert await get_with(former, address) is grpc.StatusCode.UNAVAILABLE


def security_as_it_was(of: Security) -> grpc.ChannelCredentials:
    return of.channel_credentials()


async def get_with(credentials: grpc.ChannelCredentials, address: Address) -> grpc.StatusCode:
    options = [("grpc.ssl_target_name_override", "blob.moorage")]
    async with grpc.aio.secure_channel(address.target, credentials, options=options) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("damage", ["blob.crt", "blob.key", "ca.crt"])
def test_a_file_that_is_missing_is_named(changing, damage: str) -> None:
    (changing.folder / damage).unlink()
    key = {"blob.crt": "certificate", "blob.key": "key", "ca.crt": "ca[0]"}[damage]
    with pytest.raises(ConfigurationError) as caught:
        changing.security("blob")
    path = changing.folder / damage
    assert str(caught.value) == f"services.tls.{key}: {path} cannot be read: No such file or directory"


def contract() -> set[str]:
    """Every service of the contract."""
    find: Callable[[str], Any] = descriptor_pool.Default().FindFileByName
    files = [find(f"moorage/v1/{name}.proto") for name in ("blob", "metadata", "event")]
    return {service.full_name for file in files for service in file.services_by_name.values()}


def test_it_is_said_of_the_whole_contract_who_may_call_it() -> None:
    assert set(CALLERS) == contract()


async def test_a_part_of_which_it_is_not_said_is_not_served(certificates) -> None:
    server = RpcServer(Address.parse(f"127.0.0.1:{free_port()}"), certificates.security("blob"))
    with pytest.raises(ValueError, match="who may call"):
        server.add("moorage.v1.Unheard", lambda _: None)
