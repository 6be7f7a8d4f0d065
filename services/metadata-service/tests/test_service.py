"""The service's life: start, health, deadlines, callers that go away, blob service instances, drain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from blob_service.hashing import new_executor
from blob_service.main import Contents, build_server
from metadata_service.main import SERVICE
from moorage.config import ConfigurationError, parse
from moorage.errors import RegistryError
from moorage.rpc import Address, unary, wait_until_serving
from moorage.rpc.health import is_serving
from moorage.service import load_service
from moorage.v1 import metadata_pb2


def sockets(folder: Path, blob: str = "blob.sock", settings: str = ""):
    return parse(
        f"version: 0.1\nstorage: {{inmemory: {{}}, delete: {{enabled: true}}}}\n"
        f"services: {{metadata: {{addr: 'unix://{folder}/metadata.sock', lease: 20ms}}, "
        f"blob: {{addr: 'unix://{folder}/{blob}'}}"
        f"{settings}}}\n",
        {},
    )


class BlobInstance:
    """A blob service that can be stopped."""

    def __init__(self, address: Address, driver) -> None:
        self.address = address
        self._driver = driver

    async def __aenter__(self) -> BlobInstance:
        self._executor = new_executor()
        config = parse("version: 0.1\nstorage: {inmemory: {}}\n", {})
        self.server = build_server(config, self.address, Contents.of(config, self._driver, self._executor))
        await self.server.start()
        await self.server.serving(True)
        return self

    async def __aexit__(self, *_exception) -> None:
        await self.server.stop(0)
        self._executor.shutdown()


async def until(condition) -> None:
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.02)


def test_the_command_finds_the_service_by_its_name() -> None:
    assert load_service("metadata") is SERVICE


async def test_a_manifest_limit_over_what_can_be_stored_is_a_configuration_error(tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("s")
    config = parse(
        "version: 0.1\nstorage: {inmemory: {}}\nhttp: {limits: {manifestsize: 9MiB}}\n"
        f"services: {{metadata: {{addr: 'unix://{folder}/metadata.sock'}}}}\n",
        {},
    )
    with pytest.raises(ConfigurationError) as caught:
        await SERVICE.run(config, asyncio.Event())
    assert caught.value.key == "http.limits.manifestsize"
    assert not list(folder.iterdir())


async def test_an_address_that_cannot_be_had_is_an_os_error(tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("s")
    (folder / "metadata.sock").write_text("somebody's file")
    with pytest.raises(OSError, match="not a socket"):
        await SERVICE.run(sockets(folder), asyncio.Event())


async def test_the_service_is_healthy_while_the_blob_service_is(stack, driver, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("s")
    stop = asyncio.Event()
    running = asyncio.create_task(SERVICE.run(sockets(folder), stop))
    channel = stack.channel(Address.parse(f"unix://{folder}/metadata.sock"))

    async def healthy() -> bool:
        return await is_serving(channel, timeout=1)

    async def unhealthy() -> bool:
        return not await healthy()

    await asyncio.sleep(0.2)
    assert await unhealthy()
    async with BlobInstance(Address.parse(f"unix://{folder}/blob.sock"), driver) as blob:
        await until(healthy)
        await blob.server.serving(False)
        await until(unhealthy)
        await blob.server.serving(True)
        await until(healthy)
    await until(unhealthy)
    stop.set()
    await running
    assert not (folder / "metadata.sock").exists()


async def test_reflection_names_the_service(registry) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(registry.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request])):
        assert "moorage.v1.Metadata" in {each.name for each in response.list_services_response.service}


async def test_without_the_blob_service_calls_are_unavailable_and_recover(
    stack, driver, tmp_path_factory, refused
) -> None:
    address = Address.parse(f"unix://{tmp_path_factory.mktemp('s')}/blob.sock")
    async with BlobInstance(address, driver):
        registry = await stack.registry(driver, blobs=[address], grace="100ms")
        digest = await registry.push("team/app", "v1")
    with refused("UNAVAILABLE") as refusal:
        await registry.get("team/app", "v1")
    assert refusal.status == 503
    async with BlobInstance(address, driver):
        await until(lambda: is_serving(stack.channel(address), timeout=1))

        async def answers() -> bool:
            try:
                return (await registry.get("team/app", "v1")).descriptor.digest == digest
            except RegistryError:
                return False

        await until(answers)


async def test_a_call_waits_for_a_blob_service_that_is_starting_again(stack, driver) -> None:
    address = stack.address("blob")
    async with BlobInstance(address, driver):
        registry = await stack.registry(driver, blobs=[address], grace="30s")
        await registry.push("team/app")
    listing = asyncio.create_task(registry.tags("team/app"))
    await asyncio.sleep(0.5)
    assert not listing.done()
    async with BlobInstance(address, driver):
        async with asyncio.timeout(15):
            assert await listing == ["latest"]


async def test_an_instance_that_is_away_is_left_out(stack, driver) -> None:
    first, second = stack.address("blob"), stack.address("blob")
    await stack.blob_service(driver, second)
    async with BlobInstance(first, driver):
        registry = await stack.registry(driver, blobs=[second, first])
        for number in range(4):
            await registry.push("team/app", f"v{number}")
    await asyncio.sleep(0.1)
    for number in range(8):
        await registry.get("team/app", f"v{number % 4}")
        await registry.push("team/app", f"w{number}")


async def test_a_call_that_storage_holds_up_ends_with_its_deadline(stack, hooked, refused) -> None:
    blocked = asyncio.Event()

    async def block(operation: str, path: str) -> None:
        if operation == "list":
            await blocked.wait()

    registry = await stack.registry(hooked(block), "http: {draintimeout: 1s}\n")
    with refused("UNAVAILABLE"):
        await unary(registry.stub.ListTags, metadata_pb2.ListTagsRequest(repository="team/app"), timeout=0.3)
    blocked.set()


async def test_the_configured_deadline_bounds_a_call_without_one(stack, hooked, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("s")

    async def block(operation: str, path: str) -> None:
        if operation == "list":
            await asyncio.sleep(3)

    stop = asyncio.Event()
    async with BlobInstance(Address.parse(f"unix://{folder}/blob.sock"), hooked(block)):
        running = asyncio.create_task(SERVICE.run(sockets(folder, settings=", timeout: 300ms"), stop))
        channel = stack.channel(Address.parse(f"unix://{folder}/metadata.sock"))
        assert await wait_until_serving(channel, timeout=10)
        call = channel.unary_unary(
            "/moorage.v1.Metadata/ListTags",
            request_serializer=metadata_pb2.ListTagsRequest.SerializeToString,
            response_deserializer=metadata_pb2.ListTagsResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(metadata_pb2.ListTagsRequest(repository="team/app"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        stop.set()
        await running


async def test_a_push_whose_caller_goes_away_is_completed(stack, hooked) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(operation: str, path: str) -> None:
        if path.endswith("current/link"):
            reached.set()
            await go_on.wait()

    registry = await stack.registry(hooked(hold))
    content = await registry.image("team/app")
    pushing = asyncio.create_task(registry.put("team/app", "v1", content))
    await reached.wait()
    pushing.cancel()
    await asyncio.gather(pushing, return_exceptions=True)
    assert not await registry.has_manifest("team/app", "v1")
    go_on.set()
    await until(lambda: registry.has_manifest("team/app", "v1"))


async def test_an_unlink_whose_caller_goes_away_is_completed_and_leaves_nothing_in_the_cache(
    stack, hooked
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(operation: str, path: str) -> None:
        if operation == "delete":
            reached.set()
            await go_on.wait()

    registry = await stack.registry(
        hooked(hold), "storage: {inmemory: {}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}"
    )
    digest = await registry.push_blob("team/app", b"layer")
    unlinking = asyncio.create_task(registry.unlink("team/app", digest))
    await reached.wait()
    assert await registry.has_blob("team/app", digest)
    unlinking.cancel()
    await asyncio.gather(unlinking, return_exceptions=True)
    go_on.set()

    async def gone() -> bool:
        return not await registry.has_blob("team/app", digest)

    await until(gone)


async def test_a_stop_lets_a_push_under_way_end(stack, hooked, tmp_path_factory, sha) -> None:
    folder = tmp_path_factory.mktemp("s")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(operation: str, path: str) -> None:
        if path.endswith("current/link"):
            reached.set()
            await go_on.wait()

    driver = hooked(hold)
    async with BlobInstance(Address.parse(f"unix://{folder}/blob.sock"), driver):
        stop = asyncio.Event()
        running = asyncio.create_task(SERVICE.run(sockets(folder), stop))
        channel = stack.channel(Address.parse(f"unix://{folder}/metadata.sock"))
        assert await wait_until_serving(channel, timeout=10)
        # Another service in front of the same storage prepares the blobs and looks at the outcome.
        other = await stack.registry(driver)
        content = await other.image("team/app")
        push = channel.unary_unary(
            "/moorage.v1.Metadata/PutManifest",
            request_serializer=metadata_pb2.PutManifestRequest.SerializeToString,
            response_deserializer=metadata_pb2.PutManifestResponse.FromString,
        )
        request = metadata_pb2.PutManifestRequest(
            repository="team/app",
            reference=metadata_pb2.Reference(tag="v1"),
            media_type="application/vnd.oci.image.manifest.v1+json",
            content=content,
        )
        pushing = asyncio.ensure_future(push(request, timeout=20))
        await reached.wait()
        stop.set()
        await asyncio.sleep(0.1)
        assert not running.done()
        go_on.set()
        assert (await pushing).descriptor.digest == sha(content)
        await running
        assert (await other.get("team/app", "v1")).content == content


async def test_malformed_requests_are_refused_with_what_is_wrong(registry, refused) -> None:
    for reference in (None, metadata_pb2.Reference()):
        request = metadata_pb2.GetManifestRequest(repository="team/app", reference=reference)
        with refused("TAG_INVALID") as refusal:
            await unary(registry.stub.GetManifest, request, timeout=5)
        assert refusal.message == "no tag or digest specified"
    with refused("NAME_INVALID"):
        await registry.get("Team/app", "v1")
    with refused("DIGEST_INVALID"):
        await registry.get("team/app", "sha256:1")
    with refused("NAME_INVALID"):
        await registry.tags("../../etc")
