"""Storage that fails at a chosen call, is full, or shows an upload only when it is complete."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from blob_service.drivers.inmemory import InMemoryDriver
from blob_service.drivers.interface import (
    DriverError,
    FileInfo,
    FileReader,
    FileWriter,
    NoSpaceError,
    PathNotFoundError,
)

SECRET = "backend host 10.1.2.3 said no"


class WrappedWriter(FileWriter):
    """Passes everything on to another writer; the base of those below."""

    def __init__(self, inner: FileWriter) -> None:
        self.inner = inner

    @property
    def size(self) -> int:
        return self.inner.size

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        return await self.inner.write(data)

    async def flush(self) -> None:
        await self.inner.flush()

    async def commit(self) -> None:
        await self.inner.commit()

    async def cancel(self) -> None:
        await self.inner.cancel()

    async def close(self) -> None:
        await self.inner.close()


class FailingWriter(WrappedWriter):
    """A writer of a FailingDriver."""

    def __init__(self, inner: FileWriter, driver: FailingDriver, path: str) -> None:
        super().__init__(inner)
        self._driver = driver
        self._path = path

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        room = self._driver.room
        if room is not None and len(data) > room:
            await self.inner.write(memoryview(data)[:room])
            self._driver.room = 0
            raise NoSpaceError(self._path)
        if room is not None:
            self._driver.room = room - len(data)
        return await self.inner.write(data)

    async def close(self) -> None:
        await self.inner.close()
        self._driver.fail("close")


class FailingDriver(InMemoryDriver):
    """Fails at the calls in `failing`; `room` is how many more bytes writers can write, None for any."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()
        self.room: int | None = None

    def fail(self, call: str) -> None:
        if call in self.failing:
            raise DriverError(self.name, SECRET)

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        self.fail("writer")
        return FailingWriter(await super().writer(path, append=append), self, path)

    async def put_content(self, path: str, content: bytes) -> None:
        self.fail("put_content")
        if self.room is not None and len(content) > self.room:
            raise NoSpaceError(path)
        await super().put_content(path, content)

    async def get_content(self, path: str) -> bytes:
        self.fail("get_content")
        return await super().get_content(path)

    async def stat(self, path: str) -> FileInfo:
        self.fail("stat")
        return await super().stat(path)

    async def move(self, source: str, destination: str) -> None:
        self.fail("move")
        await super().move(source, destination)

    async def delete(self, path: str) -> None:
        self.fail("delete")
        await super().delete(path)


@pytest.fixture
async def driver() -> FailingDriver:
    return FailingDriver()


@pytest.fixture
async def failing_service(driver, serve):
    return await serve(driver)


async def test_full_storage_ends_an_append_that_goes_on_when_there_is_room(
    driver, failing_service, content_of, digest_of, refused
) -> None:
    content = content_of(500_000)
    upload = await failing_service.append(await failing_service.start(), content[:100_000])
    driver.room = 150_000
    with refused("UNAVAILABLE") as refusal:
        await failing_service.append(upload, [content[100_000:200_000], content[200_000:300_000]])
    assert (refusal.status, refusal.detail) == (503, "the storage is full")
    assert (await failing_service.status(upload)).offset == 250_000
    driver.room = None
    await failing_service.commit(upload, digest_of(content), content[250_000:], offset=250_000)
    assert await failing_service.read(digest_of(content)) == content


async def test_a_small_block_for_which_there_is_no_room_leaves_the_upload_as_it_was(
    driver, failing_service, digest_of, refused
) -> None:
    upload = await failing_service.append(await failing_service.start(), b"0123")
    driver.room = 2
    with refused("UNAVAILABLE") as refusal:
        await failing_service.append(upload, b"4567")
    assert refusal.detail == "the storage is full"
    stored = (await failing_service.status(upload)).offset
    assert stored < 8
    with refused("UNAVAILABLE"):
        await failing_service.commit(upload, digest_of(b"01234567"), b"01234567"[stored:], offset=stored)
    driver.room = None
    stored = (await failing_service.status(upload)).offset
    await failing_service.commit(upload, digest_of(b"01234567"), b"01234567"[stored:], offset=stored)
    assert await failing_service.read(digest_of(b"01234567")) == b"01234567"


async def test_full_storage_refuses_small_content_and_stores_nothing(
    driver, failing_service, refused
) -> None:
    driver.room = 3
    with refused("UNAVAILABLE") as refusal:
        await failing_service.put(b"content")
    assert refusal.detail == "the storage is full"
    with refused("UNAVAILABLE"):
        await failing_service.put_objects(("/docker/registry/v2/repositories/a/link", b"content"))
    with refused("UNAVAILABLE"):
        await failing_service.start()
    assert await failing_service.stored_paths() == []


@pytest.mark.parametrize("call", ["writer", "put_content"])
async def test_an_upload_that_cannot_be_started_leaves_nothing(
    driver, failing_service, refused, call
) -> None:
    driver.failing = {call}
    with refused("UNAVAILABLE"):
        await failing_service.start()
    assert await failing_service.stored_paths() == []


async def test_bytes_that_cannot_be_made_durable_are_never_committed(
    driver, failing_service, digest_of, refused
) -> None:
    """A second attempt to sync may succeed without them, so the upload has to begin anew."""
    upload = await failing_service.append(await failing_service.start(), b"01")
    driver.failing = {"close"}
    with refused("UNAVAILABLE"):
        await failing_service.append(upload, b"23")
    driver.failing = set()
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await failing_service.commit(upload, digest_of(b"0123"), offset=4)
    assert await failing_service.stored_paths() == []


async def test_a_commit_that_failed_at_the_move_is_repeated(
    driver, failing_service, content_of, digest_of, refused
) -> None:
    content = content_of(100_000)
    upload = await failing_service.append(await failing_service.start(), content)
    driver.failing = {"move"}
    with refused("UNAVAILABLE") as refusal:
        await failing_service.commit(upload, digest_of(content))
    assert refusal.detail == "the storage failed"
    assert await failing_service.stat(digest_of(content)) == {}
    driver.failing = set()
    await failing_service.commit(upload, digest_of(content))
    assert await failing_service.read(digest_of(content)) == content


async def test_a_folder_that_cannot_be_removed_does_not_undo_a_commit(
    driver, failing_service, digest_of, refused
) -> None:
    upload = await failing_service.append(await failing_service.start(), b"data")
    driver.failing = {"delete"}
    await failing_service.commit(upload, digest_of(b"data"))
    assert await failing_service.read(digest_of(b"data")) == b"data"
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await failing_service.status(upload)


async def test_a_folder_that_cannot_be_removed_does_not_undo_a_cancel(
    driver, failing_service, refused
) -> None:
    upload = await failing_service.append(await failing_service.start(), b"data")
    driver.failing = {"delete"}
    await failing_service.cancel(upload)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await failing_service.append(upload)


async def test_the_backends_words_reach_no_caller(driver, failing_service, refused) -> None:
    digest = await failing_service.upload(b"data")
    driver.failing = {"stat", "get_content", "put_content", "delete"}
    path = "/docker/registry/v2/repositories/a/link"
    for call in (
        failing_service.stat(digest),
        failing_service.get(digest),
        failing_service.put(b"other"),
        failing_service.delete(digest),
        failing_service.start(),
        failing_service.get_objects(path),
        failing_service.put_objects((path, b"x")),
        failing_service.stat_objects(path),
        failing_service.delete_objects(path),
    ):
        with refused("UNAVAILABLE") as refusal:
            await call
        assert SECRET not in str(refusal.error)


class HidingWriter(WrappedWriter):
    """A writer of a HidingDriver."""

    def __init__(self, inner: FileWriter, driver: HidingDriver, path: str) -> None:
        super().__init__(inner)
        self._driver = driver
        self._path = path

    async def commit(self) -> None:
        await self.inner.commit()
        self._driver.incomplete.discard(self._path)


class HidingDriver(FailingDriver):
    """Like an object store: a file is seen when it is complete, and then cannot be appended to."""

    def __init__(self) -> None:
        super().__init__()
        self.incomplete: set[str] = set()

    def _see(self, path: str) -> None:
        if path in self.incomplete:
            raise PathNotFoundError(path)

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        if append and path not in self.incomplete and (await super().stat(path)).size:
            raise PathNotFoundError(path)
        writer = await super().writer(path, append=append)
        self.incomplete.add(path)
        return HidingWriter(writer, self, path)

    async def stat(self, path: str) -> FileInfo:
        self._see(path)
        return await super().stat(path)

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        self._see(path)
        return await super().reader(path, offset, length=length)

    async def move(self, source: str, destination: str) -> None:
        self._see(source)
        await super().move(source, destination)


@pytest.fixture
def hiding_driver() -> HidingDriver:
    return HidingDriver()


async def test_an_upload_that_storage_does_not_show_yet_is_continued(
    hiding_driver, serve, content_of, digest_of, refused
) -> None:
    here, there = await serve(hiding_driver), await serve(hiding_driver)
    content = content_of(300_000)
    upload = await here.append(await here.start(), content[:100_000])
    assert (await there.status(upload)).offset == 100_000
    with refused("RANGE_INVALID") as refusal:
        await there.append(upload, b"x", offset=5)
    assert refusal.detail == {"offset": 100_000}
    upload = await there.append(upload, content[100_000:200_000])
    await there.commit(upload, digest_of(content), content[200_000:])
    assert await here.read(digest_of(content)) == content


async def test_an_upload_that_was_completed_and_not_moved_is_committed_again(
    hiding_driver, serve, content_of, digest_of, refused
) -> None:
    before = REGISTRY.get_sample_value("moorage_upload_rehash_total")
    here, restarted = await serve(hiding_driver), await serve(hiding_driver)
    content = content_of(300_000)
    upload = await here.append(await here.start(), content)
    hiding_driver.failing = {"move"}
    with refused("UNAVAILABLE"):
        await here.commit(upload, digest_of(content))
    hiding_driver.failing = set()
    assert (await restarted.status(upload)).offset == 300_000
    with refused("BLOB_UPLOAD_INVALID"):
        await restarted.append(upload, b"more")
    await restarted.commit(upload, digest_of(content))
    assert await restarted.read(digest_of(content)) == content
    assert await restarted.stored_paths() == [path async for path in _blobs(hiding_driver)]
    assert REGISTRY.get_sample_value("moorage_upload_rehash_total") == before + 1


async def test_a_completed_upload_of_the_wrong_content_is_dropped(
    hiding_driver, serve, digest_of, refused
) -> None:
    here, there = await serve(hiding_driver), await serve(hiding_driver)
    upload = await here.append(await here.start(), b"this")
    with refused("DIGEST_INVALID"):
        await there.commit(upload, digest_of(b"that"))
    assert await here.stored_paths() == []
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await here.status(upload)


async def _blobs(driver: InMemoryDriver):
    async for info in driver.walk("/docker/registry/v2/blobs"):
        if not info.is_dir:
            yield info.path
