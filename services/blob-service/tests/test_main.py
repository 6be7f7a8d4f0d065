"""The service as a process: it starts, says how it is, drains, and refuses what it cannot use."""

from __future__ import annotations

import asyncio
import socket

import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from blob_service.main import SERVICE
from moorage.config import ConfigurationError, parse
from moorage.rpc import Address, open_channel, wait_until_serving
from moorage.rpc.health import is_serving


def config(tmp_path, settings: str = "", addr: str = ""):
    addr = addr or f"unix://{tmp_path}/blob.sock"
    text = (
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"services: {{blob: {{addr: {addr}}}}}\n{settings}"
    )
    return parse(text, {})


async def test_it_serves_until_told_to_stop(tmp_path) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(SERVICE.run(config(tmp_path), stop))
    channel = open_channel(Address.parse(f"unix://{tmp_path}/blob.sock"))
    assert await wait_until_serving(channel, timeout=10)
    stop.set()
    await asyncio.wait_for(task, 10)
    await channel.close()
    assert not (tmp_path / "blob.sock").exists()


async def test_it_lets_an_upload_under_way_finish_before_it_stops(running_service) -> None:
    service, process = await running_service()
    upload = await service.start()
    stopping = asyncio.Event()

    async def slowly():
        yield b"01"
        await stopping.wait()
        await asyncio.sleep(0.5)
        yield b"23"

    append = asyncio.create_task(service.append(upload, slowly()))
    # What was sent need not have come: a call that the service has not begun is refused.
    while (await service.status(upload)).offset != 2:
        await asyncio.sleep(0.01)
    process.terminate()
    stopping.set()
    assert (await append).offset == 4


async def test_with_no_time_to_drain_what_arrived_is_kept(running_service, digest_of) -> None:
    service, process = await running_service("http: {draintimeout: 0s}")
    upload = await service.start()

    async def endless():
        yield b"0123"
        await asyncio.sleep(30)

    append = asyncio.create_task(service.append(upload, endless()))
    while (await service.status(upload)).offset != 4:
        await asyncio.sleep(0.01)
    process.terminate()
    (result,) = await asyncio.gather(append, return_exceptions=True)
    assert isinstance(result, Exception)
    service, _ = await running_service()
    await service.commit(upload, digest_of(b"0123"), offset=4)


async def test_storage_that_goes_away_is_not_serving_and_comes_back(tmp_path, eventually) -> None:
    stop = asyncio.Event()
    settings = "health: {storagedriver: {interval: 50ms}}"
    task = asyncio.create_task(SERVICE.run(config(tmp_path, settings), stop))
    channel = open_channel(Address.parse(f"unix://{tmp_path}/blob.sock"))

    async def serving() -> bool:
        return await is_serving(channel, timeout=1)

    async def not_serving() -> bool:
        return not await is_serving(channel, timeout=1)

    await eventually(serving, "serving")
    root = tmp_path / "registry"
    root.rename(tmp_path / "away")
    root.symlink_to(root)
    await eventually(not_serving, "not serving")
    root.unlink()
    (tmp_path / "away").rename(root)
    await eventually(serving, "serving again")
    stop.set()
    await asyncio.wait_for(task, 10)
    await channel.close()


async def test_storage_that_cannot_be_used_is_a_configuration_error(tmp_path) -> None:
    (tmp_path / "registry").write_text("in the way")
    with pytest.raises(ConfigurationError) as caught:
        await SERVICE.run(config(tmp_path), asyncio.Event())
    assert caught.value.key == "storage.filesystem.rootdirectory"
    assert not (tmp_path / "blob.sock").exists()


async def test_several_addresses_are_a_configuration_error_that_says_what_to_do(tmp_path) -> None:
    addr = f"[unix://{tmp_path}/1.sock, unix://{tmp_path}/2.sock]"
    with pytest.raises(ConfigurationError, match=r"services\.blob\.addr.*REGISTRY_SERVICES_BLOB_ADDR"):
        await SERVICE.run(config(tmp_path, addr=addr), asyncio.Event())


async def test_an_address_that_cannot_be_had_is_an_error(tmp_path) -> None:
    (tmp_path / "blob.sock").write_text("in the way")
    with pytest.raises(OSError, match="not a socket"):
        await SERVICE.run(config(tmp_path), asyncio.Event())


async def test_the_data_socket_is_there_while_it_serves(tmp_path) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(SERVICE.run(config(tmp_path), stop))
    channel = open_channel(Address.parse(f"unix://{tmp_path}/blob.sock"))
    assert await wait_until_serving(channel, timeout=10)
    await channel.close()
    assert (tmp_path / "blob.sock.data").is_socket()
    stop.set()
    await asyncio.wait_for(task, 10)
    assert not (tmp_path / "blob.sock.data").exists()


async def test_a_data_socket_that_cannot_be_had_is_an_error_that_leaves_nothing(tmp_path) -> None:
    (tmp_path / "blob.sock.data").write_text("in the way")
    with pytest.raises(OSError, match="not a socket"):
        await SERVICE.run(config(tmp_path), asyncio.Event())
    assert not (tmp_path / "blob.sock").exists()
    assert (tmp_path / "blob.sock.data").read_text() == "in the way"


async def test_a_data_port_that_cannot_be_had_is_an_error(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        address, port = f"127.0.0.1:{free.getsockname()[1]}", taken.getsockname()[1]
        free.close()
        with pytest.raises(OSError, match="in use"):
            await SERVICE.run(config(tmp_path, addr=f"{address}, dataport: {port}"), asyncio.Event())


async def test_the_services_answer_to_reflection(running_service) -> None:
    service, _ = await running_service()
    stub = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    names = set()
    async for response in stub.ServerReflectionInfo(iter([request])):
        names |= {each.name for each in response.list_services_response.service}
    assert {"moorage.v1.BlobStore", "moorage.v1.Uploads", "moorage.v1.ObjectStore"} <= names
