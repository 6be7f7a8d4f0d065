"""The table of drivers that the suite runs against, and what its tests share.

The suite, in the folder `suite`, is what `StorageDriver` promises: the cases of distribution's driver test
suite, and those that our own interface adds. It runs unchanged against each driver of the table.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blob_service.drivers import factory
from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.interface import StorageDriver, WriterBusyError
from support.s3 import TestBucket

MIB = 1 << 20
DEFAULT_STREAM_BYTES = 256 << 20
ALLOWED_GROWTH = 48 << 20


@dataclass(frozen=True)
class Backend:
    """How the suite gets a driver of one kind."""

    # Makes a driver that keeps what it keeps on disk below the given folder, which is not there yet.
    create: Callable[[Path], StorageDriver]
    # Fails if the closed driver still holds something, or left something below the folder.
    check_released: Callable[[Path], None]
    # The content stays in this process, so its size cannot be told from the driver's own need of memory.
    keeps_content_in_memory: bool = False


def check_filesystem_released(folder: Path) -> None:
    left = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    assert not left, f"files left on disk: {left}"
    assert not open_below(folder), "file descriptors left open"
    assert not threads_of_filesystem(), "threads left"


def threads_of_filesystem() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("filesystem")]


def open_below(folder: Path) -> list[str]:
    """What this process has open at a folder or below it."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            # The listing's own descriptor.
            continue
        if target == str(folder) or target.startswith(f"{folder}/"):
            found.append(target)
    return found


def nothing_to_release(folder: Path) -> None:
    assert not folder.exists(), "the driver wrote to disk"


def s3_backend(request: pytest.FixtureRequest) -> Backend:
    """A bucket of the run's RADOS Gateway; each driver has a root directory of its own."""
    bucket = TestBucket(request.getfixturevalue("s3"), "driver-suite").create()

    def root(folder: Path) -> str:
        return f"/suite/{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"

    def check_released(folder: Path) -> None:
        prefix = root(folder)[1:]
        assert not bucket.objects(prefix), f"objects left in the bucket: {bucket.objects(prefix)}"
        assert not bucket.uploads(prefix), f"uploads left in the bucket: {bucket.uploads(prefix)}"

    def create(folder: Path) -> StorageDriver:
        # The smallest parts, so that what the suite writes has several, and copies have them, too.
        sizes = {
            "chunksize": 5 * MIB,
            "multipartcopychunksize": 5 * MIB,
            "multipartcopythresholdsize": 8 * MIB,
        }
        return factory.create("s3", bucket.parameters(root(folder), **sizes))

    return Backend(create=create, check_released=check_released)


def rados_backend(request: pytest.FixtureRequest) -> Backend:
    """A pool of the run's Ceph; each driver has a namespace of its own, named after its folder."""
    access = request.getfixturevalue("ceph").access

    def parameters(folder: Path) -> dict[str, Any]:
        return {
            "poolname": access.pool,
            "username": access.user,
            "conffile": access.conffile,
            "namespace": hashlib.sha256(str(folder).encode()).hexdigest()[:16],
            # Small stripes, so that what the suite writes has several.
            "chunksize": MIB,
        }

    def check_released(folder: Path) -> None:
        # The root's own folder stays, with nothing in it.
        left = set(rados_objects(parameters(folder))) - {"/"}
        assert not left, f"objects left in the pool: {left}"

    return Backend(
        create=lambda folder: factory.create("rados", parameters(folder)), check_released=check_released
    )


def rados_objects(parameters: dict[str, Any]) -> list[str]:
    """The names of the objects in a namespace, as librados lists them."""
    import rados

    cluster = rados.Rados(rados_id=parameters["username"], conffile=parameters["conffile"])
    cluster.connect()
    try:
        with cluster.open_ioctx(parameters["poolname"]) as context:
            context.set_namespace(parameters["namespace"])
            return sorted(found.key for found in context.list_objects())
    finally:
        cluster.shutdown()


# A new driver is one more entry here; one whose backend is a server is made for the test that asks for it.
BACKENDS: dict[str, Backend | Callable[[pytest.FixtureRequest], Backend]] = {
    "rados": rados_backend,
    "s3": s3_backend,
    "filesystem": Backend(
        create=lambda folder: factory.create("filesystem", {"rootdirectory": str(folder), "maxthreads": 25}),
        check_released=check_filesystem_released,
    ),
    "inmemory": Backend(
        create=lambda folder: factory.create("inmemory", {}),
        check_released=nothing_to_release,
        keeps_content_in_memory=True,
    ),
}


@pytest.fixture(scope="session")
def suite_drivers() -> set[str]:
    """The names of the drivers in the table."""
    return set(BACKENDS)


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    backend = BACKENDS[request.param]
    return backend if isinstance(backend, Backend) else backend(request)


@pytest.fixture
async def driver(backend: Backend, tmp_path: Path) -> AsyncIterator[StorageDriver]:
    """An empty driver. The test fails if it leaves a file behind, or the driver a resource."""
    folder = tmp_path / "storage"
    driver = backend.create(folder)
    yield driver
    left = await driver.list("/")
    await driver.close()
    assert left == []
    backend.check_released(folder)


@pytest.fixture
async def place(driver: StorageDriver) -> AsyncIterator[str]:
    """A path that is the test's own, and is deleted after it with all that is below."""
    place = f"/{secrets.token_hex(8)}"
    yield place
    try:
        await driver.delete(place)
    except PathNotFoundError:
        # The test put nothing there, or deleted it itself.
        assert await driver.list("/") == []


@pytest.fixture
def read_all(driver: StorageDriver) -> Callable[..., Awaitable[bytes]]:
    """Reads a stream to its end."""

    async def read_all(path: str, offset: int = 0, length: int | None = None) -> bytes:
        async with await driver.reader(path, offset, length=length) as reader:
            return b"".join([chunk async for chunk in reader])

    return read_all


@pytest.fixture
def check_missing(driver: StorageDriver) -> Callable[[str], Awaitable[None]]:
    """Fails unless all that reads agrees that nothing is at a path, and says which path and which driver."""

    async def check_missing(path: str) -> None:
        for call in (driver.get_content, driver.reader, driver.stat, driver.list):
            with pytest.raises(PathNotFoundError) as caught:
                await call(path)
            assert caught.value.path == path
            assert driver.name in str(caught.value)

    return check_missing


@dataclass(frozen=True)
class LargeStream:
    """A stream's size, and by how many bytes this process may grow while it passes through."""

    size: int
    growth: int


@pytest.fixture
def large_stream(backend: Backend) -> LargeStream:
    """256 MiB, or MOORAGE_LARGE_STREAM_BYTES.

    The soak sets 5368709120 (5 GiB), beyond what fits a size of 32 bits.
    """
    size = int(os.environ.get("MOORAGE_LARGE_STREAM_BYTES", DEFAULT_STREAM_BYTES))
    if backend.keeps_content_in_memory:
        size = min(size, DEFAULT_STREAM_BYTES)
        return LargeStream(size, ALLOWED_GROWTH + 3 * size)
    return LargeStream(size, ALLOWED_GROWTH)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the driver of the fixture `filesystem` keeps what it keeps."""
    return tmp_path / "storage"


@pytest.fixture
async def filesystem(root: Path) -> AsyncIterator[StorageDriver]:
    """A filesystem driver, which the test fails for leaving open what it opened."""
    driver = factory.create("filesystem", {"rootdirectory": str(root), "maxthreads": 25})
    yield driver
    await driver.close()
    assert not open_below(root), "file descriptors left open"
    assert not threads_of_filesystem(), "threads left"


@pytest.fixture
def open_files(root: Path) -> Callable[[], list[str]]:
    """Says what this process has open at the root or below it."""
    return lambda: open_below(root)


@dataclass(frozen=True)
class SystemCall:
    """A file system call: its name, the path that it is about, and the thread that made it."""

    name: str
    subject: str
    thread: threading.Thread


@pytest.fixture
def system_calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[SystemCall]:
    """The file system calls that are made below the root from now on, in order."""
    made: list[SystemCall] = []

    def path_of(target: object, folder: int | None = None) -> str:
        if isinstance(target, int):
            return os.readlink(f"/proc/self/fd/{target}")
        return os.path.join("" if folder is None else path_of(folder), os.fspath(target))

    def recorded(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def record(target: object, *args: object, **options: object) -> object:
            if name == "rename":
                subject = path_of(args[0], options["dst_dir_fd"])
            else:
                subject = path_of(target, options.get("dir_fd"))
            if subject == str(root) or subject.startswith(f"{root}/"):
                made.append(
                    SystemCall(name, subject.removeprefix(str(root)) or "/", threading.current_thread())
                )
            return call(target, *args, **options)

        return record

    for name in (
        *("open", "close", "stat", "fstat", "scandir", "listdir", "pread", "pwrite", "ftruncate"),
        *("mkdir", "rename", "unlink", "rmdir", "fsync", "fdatasync"),
    ):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    return made


PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def run_program() -> Callable[..., Awaitable[str]]:
    """Runs a program, and gives what it prints; the test fails with what it says if it fails."""

    async def run_program(program: str, *arguments: object) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            PROGRAMS / program,
            *map(str, arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
        return output.decode()

    return run_program


@asynccontextmanager
async def writer_elsewhere(
    name: str, parameters: Mapping[str, Any], path: str, content: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has flushed `content` to `path` and holds the writer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAMS / "hold_writer.py",
        name,
        json.dumps(parameters),
        path,
        content,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"flushed\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def check_one_process_writes() -> Callable[[StorageDriver, Mapping[str, Any]], Awaitable[None]]:
    """Fails unless at most one process at a time writes a file, and none waits for one that died."""

    async def check_one_process_writes(driver: StorageDriver, parameters: Mapping[str, Any]) -> None:
        path = "/_uploads/1/data"
        async with writer_elsewhere(driver.name, parameters, path, "from elsewhere") as process:
            for append in (True, False):
                with pytest.raises(WriterBusyError) as caught:
                    await driver.writer(path, append=append)
                assert str(caught.value) == f"{driver.name}: another writer holds {path}"
            assert await driver.get_content(path) == b"from elsewhere"
            async with await driver.writer("/_uploads/2/data") as other:
                await other.commit()
            process.kill()
            await process.wait()
            async with await driver.writer(path, append=True) as writer:
                assert writer.size == 14
                await writer.write(b", continued here")
                await writer.commit()
        assert await driver.get_content(path) == b"from elsewhere, continued here"

    return check_one_process_writes
