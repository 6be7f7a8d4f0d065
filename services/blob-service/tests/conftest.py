"""A real gRPC server on a unix socket over each driver, and a client that speaks the contract to it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from blob_service.drivers import filesystem, inmemory, rados
from blob_service.drivers.interface import StorageDriver
from blob_service.hashing import new_executor
from blob_service.main import Contents, build_server
from moorage.config import Configuration, parse
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, open_channel, rpc_errors, send_stream, unary, wait_until_serving
from moorage.v1 import blob_pb2, blob_pb2_grpc, common_pb2

SECONDS = 20.0
REPOSITORY = "library/ubuntu"
ROOT = "/docker/registry/v2"

Chunks = bytes | Iterable[bytes] | AsyncIterable[bytes]


class BlobService:
    """The blob service as its callers see it."""

    def __init__(self, channel: grpc.aio.Channel, driver: StorageDriver | None = None) -> None:
        self.blobs = blob_pb2_grpc.BlobStoreStub(channel)
        self.uploads = blob_pb2_grpc.UploadsStub(channel)
        self.objects = blob_pb2_grpc.ObjectStoreStub(channel)
        self.channel = channel
        self._driver = driver

    @property
    def driver(self) -> StorageDriver:
        """The storage behind it, to look at what it wrote."""
        assert self._driver is not None
        return self._driver

    async def start(self, repository: str = REPOSITORY, algorithm: str = "") -> blob_pb2.Upload:
        request = blob_pb2.StartUploadRequest(repository=repository, digest_algorithm=algorithm)
        return await unary(self.uploads.Start, request, timeout=SECONDS)

    async def status(self, upload: blob_pb2.Upload) -> blob_pb2.Upload:
        return await unary(self.uploads.Status, blob_pb2.UploadStatusRequest(key=upload.key), timeout=SECONDS)

    async def cancel(self, upload: blob_pb2.Upload, offset: int | None = None) -> None:
        request = blob_pb2.CancelUploadRequest(key=upload.key, offset=_at(upload, offset))
        await unary(self.uploads.Cancel, request, timeout=SECONDS)

    async def append(
        self,
        upload: blob_pb2.Upload,
        data: Chunks = b"",
        *,
        offset: int | None = None,
        length: int | None = None,
        timeout: float = SECONDS,
    ) -> blob_pb2.Upload:
        header = _header(upload, offset, length)

        async def parts() -> AsyncIterator[blob_pb2.AppendRequest]:
            yield blob_pb2.AppendRequest(header=header)
            async for chunk in _chunks(data):
                yield blob_pb2.AppendRequest(data=chunk)

        return await send_stream(self.uploads.Append(timeout=timeout), parts(), stall=SECONDS)

    async def commit(
        self,
        upload: blob_pb2.Upload,
        digest: str,
        data: Chunks = b"",
        *,
        offset: int | None = None,
        length: int | None = None,
        timeout: float = SECONDS,
    ) -> Any:
        header = blob_pb2.CommitHeader(append=_header(upload, offset, length), digest=digest)

        async def parts() -> AsyncIterator[blob_pb2.CommitUploadRequest]:
            yield blob_pb2.CommitUploadRequest(header=header)
            async for chunk in _chunks(data):
                yield blob_pb2.CommitUploadRequest(data=chunk)

        call = self.uploads.Commit(timeout=timeout)
        return (await send_stream(call, parts(), stall=SECONDS)).descriptor

    async def commit_stored(self, upload: blob_pb2.Upload, digest: str) -> common_pb2.Descriptor:
        request = blob_pb2.CommitStoredRequest(key=upload.key, offset=upload.offset, digest=digest)
        return (await unary(self.uploads.CommitStored, request, timeout=SECONDS)).descriptor

    async def upload(self, content: bytes, repository: str = REPOSITORY) -> str:
        """Push a blob in one go; returns its digest."""
        upload = await self.start(repository)
        return (await self.commit(upload, sha256(content), content)).digest

    async def read(self, digest: str, offset: int = 0, length: int = 0) -> bytes:
        request = blob_pb2.ReadRequest(digest=digest, offset=offset, length=length)
        with rpc_errors():
            return b"".join([part.data async for part in self.blobs.Read(request, timeout=SECONDS)])

    async def stat(self, *digests: str) -> dict[str, int]:
        """Size by digest of those that are there."""
        response = await unary(self.blobs.Stat, blob_pb2.StatRequest(digests=digests), timeout=SECONDS)
        return {descriptor.digest: descriptor.size for descriptor in response.descriptors}

    async def get(self, digest: str, max_size: int = 1 << 20) -> bytes:
        request = blob_pb2.GetRequest(digest=digest, max_size=max_size)
        return (await unary(self.blobs.Get, request, timeout=SECONDS)).content

    async def put(self, content: bytes, digest: str = "") -> Any:
        return await self.link(digest or sha256(content), content=content)

    async def link(
        self, digest: str, *objects: tuple[str, bytes], content: bytes | None = None
    ) -> common_pb2.Descriptor:
        made = [blob_pb2.LinkRequest.Object(path=path, content=data) for path, data in objects]
        request = blob_pb2.LinkRequest(digest=digest, content=content, objects=made)
        return (await unary(self.objects.Link, request, timeout=SECONDS)).descriptor

    async def delete(self, digest: str) -> None:
        await unary(self.blobs.Delete, blob_pb2.DeleteRequest(digest=digest), timeout=SECONDS)

    async def get_objects(self, *paths: str) -> list[bytes | None]:
        request = blob_pb2.GetObjectsRequest(paths=paths)
        response = await unary(self.objects.GetObjects, request, timeout=SECONDS)
        return [each.content if each.found else None for each in response.objects]

    async def put_objects(self, *objects: tuple[str, bytes]) -> None:
        await self.link(sha256(b"linked"), *objects, content=b"linked")

    async def stat_objects(self, *paths: str) -> list[Any]:
        request = blob_pb2.StatObjectsRequest(paths=paths)
        infos = (await unary(self.objects.StatObjects, request, timeout=SECONDS)).infos
        return [info if info.found else None for info in infos]

    async def list_objects(self, *paths: str, after: str = "", limit: int = 0, having: str = "") -> list[Any]:
        request = blob_pb2.ListObjectsRequest(paths=paths, after=after, limit=limit, having=having)
        folders = (await unary(self.objects.ListObjects, request, timeout=SECONDS)).folders
        return [folder if folder.found else None for folder in folders]

    async def delete_objects(self, *paths: str) -> list[str]:
        request = blob_pb2.DeleteObjectsRequest(paths=paths)
        return list((await unary(self.objects.DeleteObjects, request, timeout=SECONDS)).deleted)

    async def stored_paths(self) -> list[str]:
        """Every file in storage."""
        return [info.path async for info in self.driver.walk("/") if not info.is_dir]


def _at(upload: blob_pb2.Upload, offset: int | None) -> int:
    return upload.offset if offset is None else offset


def _header(upload: blob_pb2.Upload, offset: int | None, length: int | None) -> blob_pb2.AppendHeader:
    return blob_pb2.AppendHeader(key=upload.key, offset=_at(upload, offset), length=length)


async def _chunks(data: Chunks) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        for start in range(0, len(data), 1 << 20):
            yield data[start : start + (1 << 20)]
    elif isinstance(data, AsyncIterable):
        async for chunk in data:
            yield chunk
    else:
        for chunk in data:
            yield chunk


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def digest_of() -> Callable[[bytes], str]:
    """The canonical digest of some content."""
    return sha256


@pytest.fixture(params=["filesystem", "inmemory", "rados"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageDriver]:
    """Each driver in turn, empty."""
    if request.param == "filesystem":
        driver = filesystem.create({"rootdirectory": str(tmp_path / "registry")})
    elif request.param == "rados":
        access = request.getfixturevalue("ceph").access
        driver = rados.create(
            {
                "poolname": access.pool,
                "username": access.user,
                "conffile": access.conffile,
                "namespace": secrets.token_hex(8),
                "chunksize": 64 << 10,
            }
        )
    else:
        driver = inmemory.create({})
    yield driver
    await driver.close()


@pytest.fixture
async def folder_storage(tmp_path: Path) -> AsyncIterator[StorageDriver]:
    """A filesystem driver; its files are below `tmp_path / "registry"`."""
    driver = filesystem.create({"rootdirectory": str(tmp_path / "registry")})
    yield driver
    await driver.close()


Serve = Callable[..., Awaitable[BlobService]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts an instance of the service over a driver; `settings` is YAML that joins its configuration.

    It is at a unix socket unless an address is named.
    """
    async with AsyncExitStack() as stack:
        count = 0

        async def start(driver: StorageDriver, settings: str = "", address: str = "") -> BlobService:
            nonlocal count
            count += 1
            at = Address.parse(address or f"unix://{tmp_path}/{count}.sock")
            config = _config(settings)
            executor = stack.enter_context(_executor())
            server = build_server(config, at, Contents.of(config, driver, executor))
            await server.start()
            stack.push_async_callback(server.stop, 1.0)
            channel = open_channel(at)
            stack.push_async_callback(channel.close)
            return BlobService(channel, driver)

        yield start


@contextmanager
def _executor():
    executor = new_executor()
    yield executor
    executor.shutdown()


def _config(settings: str) -> Configuration:
    return parse(f"version: 0.1\nstorage: {{inmemory: {{}}}}\n{settings}", {})


@pytest.fixture
async def service(storage: StorageDriver, serve: Serve) -> BlobService:
    """One instance over each driver in turn."""
    return await serve(storage)


@pytest.fixture
async def folder_service(folder_storage: StorageDriver, serve: Serve) -> BlobService:
    """One instance over a folder."""
    return await serve(folder_storage)


_PROCESS = """
import asyncio, sys
from blob_service.main import SERVICE
from moorage import logging
from moorage.config import parse
from moorage.service import run_until_signalled

logging.configure(level="error", formatter="text", fields={}, service="blob")
asyncio.run(run_until_signalled(SERVICE, parse(sys.argv[1], {})))
"""


@pytest.fixture
async def running_service(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts the service as a process over `tmp_path / "registry"`: gives it and its psutil.Process.

    May be called again, also while an earlier one is dead or still runs.
    """
    count = 0
    async with AsyncExitStack() as stack:

        async def start(settings: str = "") -> tuple[BlobService, psutil.Process]:
            nonlocal count
            count += 1
            address = f"unix://{tmp_path}/process-{count}.sock"
            config = (
                f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
                f"services: {{blob: {{addr: {address}}}}}\n{settings}"
            )
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROCESS, config)
            stack.push_async_callback(_end, process)
            channel = open_channel(Address.parse(address))
            stack.push_async_callback(channel.close)
            assert await wait_until_serving(channel, timeout=20)
            return BlobService(channel), psutil.Process(process.pid)

        yield start


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


class Refusal:
    """What a call was refused with."""

    error: RegistryError

    @property
    def code(self) -> ErrorCode:
        return self.error.code

    @property
    def detail(self) -> Any:
        return self.error.entries[0].detail

    @property
    def status(self) -> int:
        return self.error.http_status


@contextmanager
def _refused(code: str):
    refusal = Refusal()
    with pytest.raises(RegistryError) as caught:
        yield refusal
    refusal.error = caught.value
    assert caught.value.code.name == code, caught.value


@pytest.fixture
def refused() -> Callable[[str], Any]:
    """`with refused("RANGE_INVALID") as refusal:` - the block must be refused with that code."""
    return _refused


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Waits until a condition holds; fails with its name when it does not within ten seconds."""

    async def wait(condition: Callable[[], Any], what: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while True:
                    held = condition()
                    if await held if asyncio.iscoroutine(held) else held:
                        return
                    await asyncio.sleep(0.02)
        raise AssertionError(f"not within 10 seconds: {what}")

    return wait


def blob_path(digest: str) -> str:
    algorithm, _, hex_digits = digest.partition(":")
    return f"{ROOT}/blobs/{algorithm}/{hex_digits[:2]}/{hex_digits}/data"


@pytest.fixture
def path_of() -> Callable[[str], str]:
    """The driver path of a blob's data."""
    return blob_path


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that repeat nowhere, so that a gap or a swap shows."""
    words = [hashlib.sha512(f"{seed}/{number}".encode()).digest() for number in range(size // 64 + 1)]
    return b"".join(words)[:size]


@pytest.fixture
def content_of() -> Callable[..., bytes]:
    """`content_of(size, seed)`: content of a size, the same for the same seed."""
    return pattern
