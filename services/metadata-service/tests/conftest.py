"""A real blob service over a real driver, the metadata service before it, and a client of the contract."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from blob_service.drivers import filesystem, inmemory
from blob_service.drivers.interface import PathNotFoundError, StorageDriver
from blob_service.hashing import new_executor
from blob_service.main import Contents, build_server
from metadata_service.main import SERVICE
from moorage.config import Configuration, parse
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, open_channel, unary, wait_until_serving
from moorage.v1 import blob_pb2, blob_pb2_grpc, common_pb2, metadata_pb2, metadata_pb2_grpc

SECONDS = 20.0
ROOT = "/docker/registry/v2"
REPOSITORIES = f"{ROOT}/repositories"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ALL_TYPES = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)


def _digest(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


class Registry:
    """The metadata service as a gateway sees it, and the storage behind it."""

    def __init__(self, channel: grpc.aio.Channel, blob_channel: grpc.aio.Channel, driver: StorageDriver):
        self.stub = metadata_pb2_grpc.MetadataStub(channel)
        self._blobs = blob_pb2_grpc.BlobStoreStub(blob_channel)
        self._objects = blob_pb2_grpc.ObjectStoreStub(blob_channel)
        self.channel = channel
        self.driver = driver

    # Storage, as something else than the metadata service changes it

    async def write(self, path: str, content: bytes | str) -> None:
        """Write below `repositories/`."""
        data = content.encode() if isinstance(content, str) else content
        await self.driver.put_content(f"{REPOSITORIES}/{path}", data)

    async def read(self, path: str) -> bytes | None:
        try:
            return await self.driver.get_content(f"{REPOSITORIES}/{path}")
        except PathNotFoundError:
            return None

    async def erase(self, path: str) -> None:
        await self.driver.delete(f"{REPOSITORIES}/{path}")

    async def clear(self) -> None:
        """Empty the storage."""
        try:
            await self.driver.delete("/docker")
        except PathNotFoundError:
            return

    async def files(self, folder: str = "") -> set[str]:
        """Every file below a folder of `repositories/`."""
        base = f"{REPOSITORIES}/{folder}".rstrip("/")
        try:
            return {
                info.path.removeprefix(f"{REPOSITORIES}/")
                async for info in self.driver.walk(base)
                if not info.is_dir
            }
        except PathNotFoundError:
            return set()

    async def store_bytes(self, content: bytes) -> str:
        """Put a blob's bytes into storage, linked nowhere; its digest."""
        request = blob_pb2.LinkRequest(digest=_digest(content), content=content)
        return (await unary(self._objects.Link, request, timeout=SECONDS)).descriptor.digest

    async def lose_bytes(self, digest: str) -> None:
        await unary(self._blobs.Delete, blob_pb2.DeleteRequest(digest=digest), timeout=SECONDS)

    async def damage_bytes(self, digest: str, content: bytes) -> None:
        algorithm, _, hexa = digest.partition(":")
        await self.driver.put_content(f"{ROOT}/blobs/{algorithm}/{hexa[:2]}/{hexa}/data", content)

    # Blobs

    async def stat(self, repository: str, digest: str) -> common_pb2.Descriptor:
        request = metadata_pb2.StatBlobRequest(repository=repository, digest=digest)
        return (await unary(self.stub.StatBlob, request, timeout=SECONDS)).descriptor

    async def has_blob(self, repository: str, digest: str) -> bool:
        try:
            await self.stat(repository, digest)
        except RegistryError as error:
            if error.code is not ErrorCode.BLOB_UNKNOWN:
                raise
            return False
        return True

    async def link(self, repository: str, digest: str, aliases: Sequence[str] = (), size: int = 0) -> None:
        descriptor = common_pb2.Descriptor(digest=digest, size=size)
        request = metadata_pb2.LinkBlobRequest(repository=repository, descriptor=descriptor, aliases=aliases)
        await unary(self.stub.LinkBlob, request, timeout=SECONDS)

    async def mount(self, repository: str, source: str, digest: str) -> common_pb2.Descriptor:
        request = metadata_pb2.MountBlobRequest(repository=repository, from_repository=source, digest=digest)
        return (await unary(self.stub.MountBlob, request, timeout=SECONDS)).descriptor

    async def unlink(self, repository: str, digest: str) -> None:
        request = metadata_pb2.UnlinkBlobRequest(repository=repository, digest=digest)
        await unary(self.stub.UnlinkBlob, request, timeout=SECONDS)

    async def push_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> str:
        """Store and link a blob, as an upload with this algorithm does; its digest."""
        canonical = await self.store_bytes(content)
        digest = _digest(content, algorithm)
        await self.link(repository, canonical, [digest], len(content))
        return digest

    # Manifests

    async def image(
        self,
        repository: str,
        name: str = "",
        *,
        algorithm: str = "sha256",
        media_type: str = OCI_MANIFEST,
        **fields: Any,
    ) -> bytes:
        """The bytes of an image manifest whose configuration and layer are in the repository."""
        docker = media_type == DOCKER_MANIFEST
        config = json.dumps({"name": name}).encode()
        layer = f"layer of {name}".encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {
                "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
                "digest": await self.push_blob(repository, config, algorithm),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": DOCKER_LAYER if docker else OCI_LAYER,
                    "digest": await self.push_blob(repository, layer, algorithm),
                    "size": len(layer),
                }
            ],
            **fields,
        }
        return json.dumps({key: value for key, value in manifest.items() if value is not None}).encode()

    async def put(
        self,
        repository: str,
        reference: str,
        content: bytes,
        media_type: str = OCI_MANIFEST,
        *,
        tags: Sequence[str] = (),
        granted_class: str = "",
        create_only: bool = False,
        timeout: float = SECONDS,
    ) -> metadata_pb2.PutManifestResponse:
        request = metadata_pb2.PutManifestRequest(
            repository=repository,
            reference=reference_message(reference),
            tags=tags,
            media_type=media_type,
            content=content,
            granted_class=granted_class,
            create_only=create_only,
        )
        return await unary(self.stub.PutManifest, request, timeout=timeout)

    async def push(self, repository: str, tag: str = "latest", name: str = "", **fields: Any) -> str:
        """Push an image under a tag; its digest."""
        content = await self.image(repository, name or tag, **fields)
        return (await self.put(repository, tag, content)).descriptor.digest

    async def get(
        self,
        repository: str,
        reference: str,
        *,
        accept: Sequence[str] = ALL_TYPES,
        known: Sequence[str] = (),
        descriptor_only: bool = False,
    ) -> metadata_pb2.GetManifestResponse:
        request = metadata_pb2.GetManifestRequest(
            repository=repository,
            reference=reference_message(reference),
            accept=accept,
            known=known,
            descriptor_only=descriptor_only,
        )
        return await unary(self.stub.GetManifest, request, timeout=SECONDS)

    async def has_manifest(self, repository: str, reference: str) -> bool:
        try:
            await self.get(repository, reference)
        except RegistryError as error:
            if error.code is not ErrorCode.MANIFEST_UNKNOWN:
                raise
            return False
        return True

    async def delete(self, repository: str, reference: str) -> list[str]:
        request = metadata_pb2.DeleteManifestRequest(
            repository=repository, reference=reference_message(reference)
        )
        return list((await unary(self.stub.DeleteManifest, request, timeout=SECONDS)).tags)

    # Lists

    async def tag_page(
        self, repository: str, last: str = "", limit: int | None = None
    ) -> tuple[list[str], bool]:
        request = metadata_pb2.ListTagsRequest(repository=repository, last=last, limit=limit)
        response = await unary(self.stub.ListTags, request, timeout=SECONDS)
        return list(response.tags), response.more

    async def tags(self, repository: str) -> list[str]:
        tags, more = await self.tag_page(repository)
        assert not more
        return tags

    async def catalog(self, last: str = "", limit: int = 1000) -> tuple[list[str], bool]:
        request = metadata_pb2.ListRepositoriesRequest(last=last, limit=limit)
        response = await unary(self.stub.ListRepositories, request, timeout=SECONDS)
        return list(response.repositories), response.more

    async def search(
        self, matching: Sequence[str], last: str = "", limit: int = 1000
    ) -> metadata_pb2.ListRepositoriesResponse:
        """One call's part of the catalog."""
        request = metadata_pb2.ListRepositoriesRequest(last=last, limit=limit, matching=matching)
        return await unary(self.stub.ListRepositories, request, timeout=SECONDS)

    async def referrer_page(
        self, repository: str, subject: str, artifact_type: str = "", last: str = "", limit: int = 1000
    ) -> metadata_pb2.ListReferrersResponse:
        request = metadata_pb2.ListReferrersRequest(
            repository=repository, digest=subject, artifact_type=artifact_type, last=last, limit=limit
        )
        return await unary(self.stub.ListReferrers, request, timeout=SECONDS)

    async def referrers(self, repository: str, subject: str) -> list[str]:
        """The digests of all referrers."""
        page = await self.referrer_page(repository, subject)
        assert not page.more
        return [each.descriptor.digest for each in page.referrers]


def reference_message(reference: str) -> metadata_pb2.Reference:
    if ":" in reference:
        return metadata_pb2.Reference(digest=reference)
    return metadata_pb2.Reference(tag=reference)


def merged(
    settings: str, metadata: Address, blobs: Sequence[str], *, lease: str, timeout: str, grace: str
) -> Configuration:
    document = (
        f"version: 0.1\nservices: {{metadata: {{addr: '{metadata}', lease: {lease}}}, timeout: {timeout}, "
        f"grace: {grace}, blob: {{addr: {json.dumps(list(blobs))}}}}}\n"
    )
    if "storage:" not in settings:
        document += "storage: {inmemory: {}, delete: {enabled: true}}\n"
    return parse(document + settings, {})


class HookedDriver:
    """A driver that calls `hook(operation, path)` before each put, delete and list of a driver.

    `read_hook(path)`, when set, is called before each read of a small object.
    """

    def __init__(self, driver: StorageDriver, hook: Callable[[str, str], Awaitable[None]]) -> None:
        self._driver = driver
        self.hook = hook
        self.read_hook: Callable[[str], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    async def get_content(self, path: str) -> bytes:
        if self.read_hook is not None:
            await self.read_hook(path)
        return await self._driver.get_content(path)

    async def put_content(self, path: str, content: bytes) -> None:
        await self.hook("put", path)
        await self._driver.put_content(path, content)

    async def delete(self, path: str) -> None:
        await self.hook("delete", path)
        await self._driver.delete(path)

    async def list(self, path: str, **options: Any) -> Any:
        await self.hook("list", path)
        return await self._driver.list(path, **options)


class Gateway:
    """A gateway as far as leases go: one stream, and look-ups under its lease.

    It confirms each revocation at once, unless it is told to be silent.
    """

    def __init__(self, registry: Registry, *, silent: bool = False) -> None:
        self._stub = registry.stub
        self._call = self._stub.Lease()
        self.silent = silent
        self.lease = ""
        # What the service said: revocations; and grants, each in milliseconds.
        self.revocations: list[metadata_pb2.LeaseResponse.Revocation] = []
        self.granted: list[int] = []
        self._news = asyncio.Condition()
        self.ended = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Take in what the service says until the stream ends, whoever ends it."""
        try:
            async for message in self._call:
                if message.WhichOneof("message") == "granted":
                    self.lease = message.granted.lease
                    self.granted.append(message.granted.milliseconds)
                else:
                    self.revocations.append(message.revocation)
                    if not self.silent:
                        await self.confirm(message.revocation)
                async with self._news:
                    self._news.notify_all()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            return

    async def renew(self) -> int:
        """Renew, and give the granted milliseconds."""
        count = len(self.granted)
        await self._call.write(metadata_pb2.LeaseRequest(renew=metadata_pb2.LeaseRequest.Renew()))
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.granted) > count)
        return self.granted[-1]

    async def revocation(self, number: int = 0) -> metadata_pb2.LeaseResponse.Revocation:
        """The revocation of this place in their order, which may still have to come."""
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.revocations) > number)
        return self.revocations[number]

    async def confirm(self, revocation: metadata_pb2.LeaseResponse.Revocation) -> None:
        confirm = metadata_pb2.LeaseRequest.Confirm(revocation=revocation.number)
        await self._call.write(metadata_pb2.LeaseRequest(confirm=confirm))

    async def release(self) -> None:
        """Release, unless the lease has run out already."""
        with suppress(asyncio.InvalidStateError):
            await self._call.write(metadata_pb2.LeaseRequest(release=metadata_pb2.LeaseRequest.Release()))
        await self.ended

    async def break_off(self) -> None:
        """Let the stream end without a word."""
        self._call.cancel()
        await self.ended

    async def resolve(
        self, *queries: metadata_pb2.ResolveRequest.Query, lease: str | None = None
    ) -> list[metadata_pb2.ResolveResponse.Answer]:
        request = metadata_pb2.ResolveRequest(lease=self.lease if lease is None else lease, queries=queries)
        return list((await unary(self._stub.Resolve, request, timeout=SECONDS)).answers)

    async def holds(self, repository: str, reference: str, lease: str | None = None) -> bool:
        """Look a manifest up; whether its answer may be kept."""
        (answer,) = await self.resolve(manifest_query(repository, reference), lease=lease)
        return answer.held

    async def holds_tags(self, repository: str, lease: str | None = None) -> bool:
        """List a repository's tags; whether the list may be kept."""
        request = metadata_pb2.ListTagsRequest(
            repository=repository, lease=self.lease if lease is None else lease
        )
        return (await unary(self._stub.ListTags, request, timeout=SECONDS)).held


def manifest_query(repository: str, reference: str, **fields: Any) -> metadata_pb2.ResolveRequest.Query:
    return metadata_pb2.ResolveRequest.Query(
        manifest=metadata_pb2.GetManifestRequest(
            repository=repository, reference=reference_message(reference), accept=ALL_TYPES, **fields
        )
    )


def blob_query(repository: str, digest: str) -> metadata_pb2.ResolveRequest.Query:
    return metadata_pb2.ResolveRequest.Query(
        blob=metadata_pb2.StatBlobRequest(repository=repository, digest=digest)
    )


class Stack:
    """Starts blob services and metadata services, and ends what it started."""

    def __init__(self, exits: AsyncExitStack, folder: Path) -> None:
        self._exits = exits
        self._folder = folder
        self._count = 0

    def address(self, name: str) -> Address:
        self._count += 1
        return Address.parse(f"unix://{self._folder}/{self._count}-{name}.sock")

    async def blob_service(self, driver: StorageDriver, address: Address | None = None) -> Address:
        """A blob service over a driver; where it listens."""
        address = address or self.address("blob")
        executor = new_executor()
        self._exits.callback(executor.shutdown)
        config = parse("version: 0.1\nstorage: {inmemory: {}}\n", {})
        server = build_server(config, address, Contents.of(config, driver, executor))
        await server.start()
        await server.serving(True)
        self._exits.push_async_callback(server.stop, 0)
        return address

    def channel(self, address: Address) -> grpc.aio.Channel:
        channel = open_channel(address)
        self._exits.push_async_callback(channel.close, None)
        return channel

    async def registry(
        self,
        driver: StorageDriver,
        settings: str = "",
        *,
        blobs: Sequence[Address] = (),
        lease: str = "20ms",
        timeout: str = "30s",
        grace: str = "2.5s",
    ) -> Registry:
        """A metadata service in front of a blob service over the driver.

        `lease` is short by default, because the first push of a tag waits for it.
        """
        blobs = blobs or [await self.blob_service(driver)]
        address = self.address("metadata")
        config = merged(
            settings, address, [str(blob) for blob in blobs], lease=lease, timeout=timeout, grace=grace
        )
        stop = asyncio.Event()
        running = asyncio.create_task(SERVICE.run(config, stop))

        async def end() -> None:
            stop.set()
            await running

        self._exits.push_async_callback(end)
        channel = self.channel(address)
        assert await wait_until_serving(channel, timeout=SECONDS), running
        return self.client(channel, blobs[0], driver)

    async def gateway(self, registry: Registry, *, silent: bool = False) -> Gateway:
        """A gateway with a lease."""
        gateway = Gateway(registry, silent=silent)
        self._exits.push_async_callback(gateway.break_off)
        await gateway.renew()
        return gateway

    def client(self, channel: grpc.aio.Channel, blob: Address, driver: StorageDriver) -> Registry:
        """A client of a metadata service, and of the blob service behind it."""
        return Registry(channel, self.channel(blob), driver)


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Without this, structlog prints every debug line of both services."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture
def logged() -> Callable[[], Any]:
    """`with logged() as lines:` - the log lines of the block, as maps."""

    @contextmanager
    def capture() -> Iterator[list[Any]]:
        before = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
        try:
            with structlog.testing.capture_logs() as lines:
                yield lines
        finally:
            structlog.configure(**before)

    return capture


@pytest.fixture(scope="session")
def sha() -> Callable[..., str]:
    """`sha(content)` or `sha(content, "sha512")`: a digest."""
    return _digest


@pytest.fixture
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with AsyncExitStack() as exits:
        yield Stack(exits, tmp_path_factory.mktemp("s"))


@pytest.fixture
async def driver() -> AsyncIterator[StorageDriver]:
    """Storage in memory, empty."""
    storage = inmemory.create({})
    yield storage
    await storage.close()


@pytest.fixture
async def folder_driver(tmp_path: Path) -> AsyncIterator[StorageDriver]:
    """Storage in `tmp_path / "registry"`, empty."""
    storage = filesystem.create({"rootdirectory": str(tmp_path / "registry")})
    yield storage
    await storage.close()


@pytest.fixture
async def registry(stack: Stack, driver: StorageDriver) -> Registry:
    """A registry where deletion is on and nothing is cached."""
    return await stack.registry(driver)


@pytest.fixture
def start(stack: Stack, driver: StorageDriver) -> Callable[..., Awaitable[Registry]]:
    """`await start("validation: {disabled: true}")`: a registry with settings, over the storage in memory."""

    async def registry(settings: str = "") -> Registry:
        return await stack.registry(driver, settings)

    return registry


@pytest.fixture
def hooked(driver: StorageDriver) -> Callable[..., HookedDriver]:
    """`hooked(hook)`: the storage in memory, with a hook before each put, delete and list."""
    return lambda hook: HookedDriver(driver, hook)


@pytest.fixture
async def slow_registry(stack: Stack, hooked: Callable[..., HookedDriver]) -> Registry:
    """A registry whose storage takes a different time for each call."""
    delays = random.Random(7)

    async def delay(_operation: str, _path: str) -> None:
        await asyncio.sleep(delays.choice([0, 0.001, 0.004]))

    return await stack.registry(hooked(delay))


class Refusal:
    """What a call was refused with."""

    error: RegistryError

    @property
    def details(self) -> list[Any]:
        return [entry.detail for entry in self.error.entries]

    @property
    def detail(self) -> Any:
        return self.details[0]

    @property
    def message(self) -> str:
        return self.error.entries[0].message

    @property
    def status(self) -> int:
        return self.error.http_status


@pytest.fixture
def refused() -> Callable[[str], Any]:
    """`with refused("BLOB_UNKNOWN") as refusal:` - the block must be refused with that code."""

    @contextmanager
    def check(code: str) -> Iterator[Refusal]:
        refusal = Refusal()
        with pytest.raises(RegistryError) as caught:
            yield refusal
        refusal.error = caught.value
        assert {entry.code.name for entry in caught.value.entries} == {code}, caught.value

    return check


@pytest.fixture
def manifest_of() -> Callable[..., metadata_pb2.ResolveRequest.Query]:
    """`manifest_of(repository, reference)`: a query of Resolve."""
    return manifest_query


@pytest.fixture
def blob_of() -> Callable[[str, str], metadata_pb2.ResolveRequest.Query]:
    """`blob_of(repository, digest)`: a query of Resolve."""
    return blob_query
