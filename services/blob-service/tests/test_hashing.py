"""The running hash of an upload, and how long it is remembered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from blob_service.drivers.inmemory import InMemoryDriver
from blob_service.drivers.interface import CHUNK_SIZE, FileReader
from blob_service.hashing import RunningHash, RunningHashes, digest_of, new_executor
from blob_service.layout import UploadKey


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = new_executor()
    yield executor
    executor.shutdown()


def key(name: str) -> UploadKey:
    return UploadKey.parse("a/b", name)


def rehashes() -> float:
    return REGISTRY.get_sample_value("moorage_upload_rehash_total") or 0.0


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parts=st.lists(st.binary(max_size=100), max_size=8), scale=st.sampled_from([1, 5000]))
async def test_a_running_hash_is_the_hash_of_the_whole(executor, parts, scale) -> None:
    running = RunningHash(executor, ["sha512"])
    for part in parts:
        await running.update(part * scale)
    whole = b"".join(part * scale for part in parts)
    assert running.offset == len(whole)
    assert running.digest().hex == hashlib.sha256(whole).hexdigest()
    assert running.digest("sha512").hex == hashlib.sha512(whole).hexdigest()


@pytest.mark.parametrize("size", [0, 1000, 1_000_000])
async def test_content_of_any_size_is_digested(executor, content_of, size) -> None:
    content = content_of(size)
    assert str(await digest_of(content, executor)) == f"sha256:{hashlib.sha256(content).hexdigest()}"


async def test_a_hash_is_handed_out_once(executor) -> None:
    hashes = RunningHashes()
    running = RunningHash(executor)
    hashes.put(key("1"), running)
    assert hashes.take(key("1")) is running
    assert hashes.take(key("1")) is None


async def test_of_too_many_hashes_the_oldest_is_forgotten(executor) -> None:
    hashes = RunningHashes(limit=3)
    for name in ("1", "2", "3"):
        hashes.put(key(name), RunningHash(executor))
    first = hashes.take(key("1"))
    assert first is not None
    hashes.put(key("1"), first)
    hashes.put(key("4"), RunningHash(executor))
    assert len(hashes) == 3
    assert hashes.take(key("2")) is None
    assert hashes.take(key("1")) is first


async def test_a_hash_that_nobody_asks_for_is_forgotten(executor) -> None:
    now = 0.0
    hashes = RunningHashes(idle_seconds=60, clock=lambda: now)
    hashes.put(key("1"), RunningHash(executor))
    now = 30.0
    hashes.put(key("2"), RunningHash(executor))
    now = 61.0
    hashes.put(key("3"), RunningHash(executor))
    assert len(hashes) == 2
    assert hashes.take(key("1")) is None
    now = 200.0
    assert hashes.take(key("3")) is None
    assert len(hashes) == 0


async def test_an_upload_in_one_instance_is_never_read_again(service, content_of, digest_of) -> None:
    before = rehashes()
    content = content_of(400_000)
    upload = await service.append(await service.start(), content[:150_000])
    upload = await service.append(upload, content[150_000:300_000])
    await service.commit(upload, digest_of(content), content[300_000:])
    assert rehashes() == before


@pytest.mark.parametrize(("hint", "expected"), [("sha512", 0), ("", 1)])
async def test_a_hint_saves_reading_a_sha512_upload_again(service, content_of, hint, expected) -> None:
    before = rehashes()
    content = content_of(400_000)
    upload = await service.append(await service.start(algorithm=hint), content)
    await service.commit(upload, f"sha512:{hashlib.sha512(content).hexdigest()}")
    assert rehashes() - before == expected


async def test_an_instance_that_lacks_bytes_reads_once_what_it_lacks(
    storage, serve, content_of, digest_of
) -> None:
    before = rehashes()
    content = content_of(600_000)
    here, there = await serve(storage), await serve(storage)
    upload = await here.start()
    for number, instance in enumerate([here, there, here, there, here, there]):
        upload = await instance.append(upload, content[number * 100_000 : (number + 1) * 100_000])
    await here.commit(upload, digest_of(content))
    assert rehashes() == before + 1


class StallingDriver(InMemoryDriver):
    """Its first reader stalls after two chunks; it notes where readers begin."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []
        self.stalled = asyncio.Event()

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        self.begun.append(offset)
        reader = await super().reader(path, offset, length=length)
        return StallingReader(reader, self.stalled) if len(self.begun) == 1 else reader


class StallingReader(FileReader):
    """Gives two chunks and then no more."""

    def __init__(self, inner: FileReader, stalled: asyncio.Event) -> None:
        self._inner = inner
        self._left = 2
        self._stalled = stalled

    async def __anext__(self) -> bytes:
        if not self._left:
            self._stalled.set()
            await asyncio.sleep(60)
        self._left -= 1
        return await anext(self._inner)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_commit_that_is_given_up_while_it_reads_goes_on_from_there(
    serve, content_of, digest_of
) -> None:
    """So that a commit succeeds in the end even if one deadline is too short for a large upload."""
    driver = StallingDriver()
    here, there = await serve(driver), await serve(driver)
    content = content_of(5 * CHUNK_SIZE)
    upload = await here.append(await here.start(), content)
    commit = asyncio.create_task(there.commit(upload, digest_of(content)))
    await asyncio.wait_for(driver.stalled.wait(), 10)
    commit.cancel()
    await asyncio.gather(commit, return_exceptions=True)
    await there.commit(upload, digest_of(content))
    assert driver.begun == [0, 2 * CHUNK_SIZE]
    assert await here.read(digest_of(content)) == content


async def test_a_failed_commit_attempt_does_not_spoil_the_hash(
    service, content_of, digest_of, refused
) -> None:
    before = rehashes()
    content = content_of(300_000)
    upload = await service.append(await service.start(), content[:100_000])
    with refused("SIZE_INVALID"):
        await service.commit(upload, digest_of(content), content[100_000:200_000], length=200_000)
    await service.commit(upload, digest_of(content), content[200_000:], offset=200_000)
    assert rehashes() == before
