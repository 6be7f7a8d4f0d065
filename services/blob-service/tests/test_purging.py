"""Upload purging: what it removes, what it leaves alone, and that nothing stops it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY

from blob_service.blobs import Blobs
from blob_service.drivers import filesystem
from blob_service.drivers.inmemory import InMemoryDriver
from blob_service.drivers.interface import DriverError, FileInfo, StorageDriver
from blob_service.hashing import new_executor
from blob_service.layout import UploadKey
from blob_service.purging import PurgeSummary, UploadPurger, purge_periodically, purges_here
from blob_service.uploads import Uploads
from moorage.config import parse
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError

WEEK = 7 * 24 * 3600.0
REPOSITORIES = "docker/registry/v2/repositories"


class Registry:
    """Uploads over a driver, and a purger of theirs."""

    def __init__(self, driver: StorageDriver, executor: object) -> None:
        self.driver = driver
        self.uploads = Uploads(driver, Blobs(driver, executor), executor)

    def purger(self, age: float = WEEK, *, dry_run: bool = False) -> UploadPurger:
        return UploadPurger(self.driver, self.uploads, age=age, dry_run=dry_run)

    async def start(self, repository: str = "library/ubuntu", content: bytes = b"") -> UploadKey:
        upload = await self.uploads.start(UploadKey.new(repository), "sha256")
        if content:
            await self.uploads.append(upload.key, 0, stream(content), length=None)
        return upload.key

    async def is_known(self, key: UploadKey) -> bool:
        try:
            await self.uploads.status(key)
        except RegistryError as error:
            if error.code is not ErrorCode.BLOB_UPLOAD_UNKNOWN:
                raise
            return False
        return True


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@contextmanager
def executor() -> Iterator[object]:
    made = new_executor()
    yield made
    made.shutdown()


@pytest.fixture
async def registry(folder_storage: StorageDriver) -> AsyncIterator[Registry]:
    """Over a folder, whose files can be made old."""
    with executor() as made:
        yield Registry(folder_storage, made)


@pytest.fixture
async def any_registry(storage: StorageDriver) -> AsyncIterator[Registry]:
    """Over each driver."""
    with executor() as made:
        yield Registry(storage, made)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry" / REPOSITORIES


@pytest.fixture
def aged(root: Path) -> Callable[..., None]:
    """`aged(key, days)`: nothing of an upload was written for so long; `written` more recently."""

    def age(
        key: UploadKey, days: float, *, started: float | None = None, written: float | None = None
    ) -> None:
        folder = root / key.repository / "_uploads" / key.id
        moment = datetime.now(UTC) - timedelta(days=started if started is not None else days)
        if (folder / "startedat").exists():
            (folder / "startedat").write_text(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
        for path in [*folder.rglob("*"), folder]:
            os.utime(path, (time.time() - days * 86400,) * 2)
        if written is not None:
            os.utime(folder / "data", (time.time() - written * 86400,) * 2)

    return age


def count(name: str) -> float:
    return REGISTRY.get_sample_value(f"registry_storage_{name}_total") or 0.0


async def test_an_upload_that_nobody_went_on_with_is_removed_whole(
    registry: Registry, root: Path, aged
) -> None:
    old, young = await registry.start(content=b"bytes"), await registry.start(content=b"bytes")
    aged(old, 8)
    aged(young, 6)
    purged = count("uploads_purged")
    assert await registry.purger().run() == PurgeSummary(found=2, purged=1)
    assert os.listdir(root / "library/ubuntu/_uploads") == [young.id]
    assert not await registry.is_known(old)
    assert count("uploads_purged") == purged + 1


async def test_uploads_of_every_repository_are_found_and_nothing_else_is(
    registry: Registry, root: Path, aged
) -> None:
    keys = [await registry.start(name) for name in ("a", "a/b", "a/b/c", "z/uploads")]
    for key in keys:
        aged(key, 8)
    link = root / "a/_manifests/tags/_uploads/current/link"
    link.parent.mkdir(parents=True)
    link.write_text("sha256:0")
    os.utime(link, (0, 0))
    assert await registry.purger().run() == PurgeSummary(found=4, purged=4)
    assert link.read_text() == "sha256:0"


async def test_it_is_the_last_write_that_counts_and_not_the_start(registry: Registry, aged) -> None:
    slow = await registry.start(content=b"a layer that takes days")
    aged(slow, 30, written=1)
    assert await registry.purger().run() == PurgeSummary(found=1)
    aged(slow, 30, written=8)
    assert await registry.purger().run() == PurgeSummary(found=1, purged=1)


async def test_a_hash_state_of_distribution_is_a_sign_of_life(registry: Registry, root: Path, aged) -> None:
    key = await registry.start(content=b"bytes")
    aged(key, 30)
    state = root / key.repository / "_uploads" / key.id / "hashstates/sha256/5"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"state")
    assert await registry.purger().run() == PurgeSummary(found=1)
    os.utime(state, (0, 0))
    assert await registry.purger().run() == PurgeSummary(found=1, purged=1)


async def test_a_storage_tree_that_was_copied_counts_from_what_startedat_says(
    registry: Registry, aged
) -> None:
    """A restore from a backup may have set every file's time back."""
    key = await registry.start()
    aged(key, 3000, started=1)
    assert await registry.purger().run() == PurgeSummary(found=1)


@pytest.mark.parametrize("content", [b"", b"yesterday", b"2020-01-01T00:00:00", b"\xff"])
async def test_a_startedat_that_says_nothing_leaves_the_files_times(
    registry: Registry, root: Path, aged, content: bytes
) -> None:
    key = await registry.start()
    started_at = root / key.repository / "_uploads" / key.id / "startedat"
    started_at.write_bytes(content)
    assert await registry.purger().run() == PurgeSummary(found=1)
    os.utime(started_at, (0, 0))
    os.utime(started_at.with_name("data"), (0, 0))
    assert await registry.purger().run() == PurgeSummary(found=1, purged=1)


@pytest.mark.parametrize("files", [(), ("data",), ("startedat",), ("hashstates/sha256/0",)])
async def test_what_an_interrupted_commit_or_start_left_is_removed(
    registry: Registry, root: Path, files: tuple[str, ...]
) -> None:
    folder = root / "library/ubuntu/_uploads/left"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    assert await registry.purger().run() == PurgeSummary(found=1)
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (1, 1))  # 0 would be a time that is not known
    assert await registry.purger().run() == PurgeSummary(found=1, purged=1)
    assert not folder.exists()


async def test_a_dry_run_says_what_it_would_remove_and_keeps_it(registry: Registry, aged) -> None:
    key = await registry.start(content=b"bytes")
    aged(key, 8)
    purged = count("uploads_purged")
    with structlog.testing.capture_logs() as lines:
        assert await registry.purger(dry_run=True).run() == PurgeSummary(found=1, purged=1)
    assert [(line["event"], line.get("upload")) for line in lines if line["log_level"] == "info"] == [
        ("an upload would be purged", key.id),
        ("upload purging has ended", None),
    ]
    assert await registry.is_known(key)
    assert count("uploads_purged") == purged


async def test_each_removal_and_the_run_are_logged(registry: Registry, aged) -> None:
    key = await registry.start("team/app")
    aged(key, 8)
    with structlog.testing.capture_logs() as lines:
        await registry.purger().run()
    removal, summary = (line for line in lines if line["log_level"] == "info")
    assert (removal["event"], removal["repository"], removal["upload"]) == (
        "an upload was purged",
        "team/app",
        key.id,
    )
    assert (summary["found"], summary["purged"], summary["failed"], summary["complete"]) == (1, 1, 0, True)


async def test_an_upload_that_a_call_has_is_left_alone(any_registry: Registry) -> None:
    registry = any_registry
    key = await registry.start(content=b"first")
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b" second"
        arrived.set()
        await go_on.wait()
        yield b" third"

    appending = asyncio.create_task(registry.uploads.append(key, 5, slow(), length=None))
    await arrived.wait()
    await asyncio.sleep(0.01)
    assert await registry.purger(age=0).run() == PurgeSummary(found=1, in_use=1)
    go_on.set()
    upload = await appending
    content = b"first second third"
    assert upload.offset == len(content)
    digest = Digest.parse("sha256:" + hashlib.sha256(content).hexdigest())
    blob = await registry.uploads.commit(key, upload.offset, digest, stream(), length=None)
    assert blob.size == len(content)


async def test_an_upload_that_another_process_has_is_left_alone(registry: Registry, root: Path, aged) -> None:
    key = await registry.start(content=b"bytes")
    other = filesystem.create({"rootdirectory": str(root.parents[3])})
    path = f"/{REPOSITORIES}/{key.repository}/_uploads/{key.id}/data"
    async with await other.writer(path, append=True):
        aged(key, 8)
        assert await registry.purger().run() == PurgeSummary(found=1, in_use=1)
    aged(key, 8)
    assert await registry.purger().run() == PurgeSummary(found=1, purged=1)
    await other.close()


async def test_an_upload_that_was_written_to_after_the_look_is_kept(any_registry: Registry) -> None:
    registry = any_registry
    key = await registry.start(content=b"bytes")
    looked = 0

    async def abandoned(_: int | None) -> bool:
        nonlocal looked
        looked += 1
        return False

    assert await registry.uploads.purge(key, abandoned)
    assert looked == 1
    assert (await registry.uploads.status(key)).offset == 5


async def test_an_upload_cannot_be_gone_on_with_while_it_is_purged(any_registry: Registry) -> None:
    registry = any_registry
    key = await registry.start(content=b"bytes")
    asked, decide = asyncio.Event(), asyncio.Event()

    async def abandoned(_: int | None) -> bool:
        asked.set()
        await decide.wait()
        return True

    purging = asyncio.create_task(registry.uploads.purge(key, abandoned))
    await asked.wait()
    appending = asyncio.create_task(registry.uploads.append(key, 5, stream(b"more"), length=None))
    await asyncio.sleep(0.01)
    assert not appending.done()
    decide.set()
    assert await purging
    with pytest.raises(RegistryError) as caught:
        await appending
    assert caught.value.code is ErrorCode.BLOB_UPLOAD_UNKNOWN


class Hiding(InMemoryDriver):
    """Shows no data before they are committed, as object stores do; all else is a month old."""

    async def walk(self, path: str, **options: object) -> AsyncIterator[FileInfo]:
        month_ago = time.time_ns() - 30 * 86400 * 10**9
        async for info in super().walk(path, **options):
            if info.name != "data":
                yield replace(info, modified_ns=month_ago)


@pytest.mark.parametrize(("days", "purged"), [(6, 0), (8, 1)])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_where_the_backend_shows_no_data_before_the_commit_their_writer_knows_their_time(
    days: int, purged: int, dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = time.time_ns() - days * 86400 * 10**9
    monkeypatch.setattr("blob_service.drivers.inmemory._MemoryWriter.modified_ns", written)
    driver = Hiding()
    with executor() as made:
        registry = Registry(driver, made)
        key = await registry.start(content=b"bytes")
        started_at = f"/{REPOSITORIES}/{key.repository}/_uploads/{key.id}/startedat"
        await driver.put_content(started_at, b"2020-01-01T00:00:00Z")
        assert await registry.purger(dry_run=dry_run).run() == PurgeSummary(found=1, purged=purged)
        assert await registry.is_known(key) is (dry_run or not purged)


async def test_where_nothing_was_ever_pushed_there_is_nothing_to_purge(any_registry: Registry) -> None:
    assert await any_registry.purger().run() == PurgeSummary()


class Fragile(InMemoryDriver):
    """Fails at what is told to fail: paths that end so, and walks."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = ""

    async def delete(self, path: str) -> None:
        if self.broken and path.endswith(self.broken):
            raise DriverError(self.name, "the disk is on fire")
        await super().delete(path)

    async def list(self, path: str, **options: object) -> list[str]:
        if self.broken and path.endswith(self.broken):
            raise DriverError(self.name, "the disk is on fire")
        return await super().list(path, **options)


@pytest.fixture
async def fragile() -> AsyncIterator[tuple[Fragile, Registry]]:
    driver = Fragile()
    with executor() as made:
        yield driver, Registry(driver, made)


async def test_an_upload_that_cannot_be_removed_stops_no_other(fragile) -> None:
    driver, registry = fragile
    keys = sorted([await registry.start(content=b"x") for _ in range(3)], key=lambda key: key.id)
    driver.broken = keys[1].id
    failures = count("upload_purge_failures")
    await asyncio.sleep(0.01)
    summary = await registry.purger(age=0).run()
    assert (summary.found, summary.purged, summary.failed, summary.complete) == (3, 2, 1, True)
    assert count("upload_purge_failures") == failures + 1
    driver.broken = ""
    assert await registry.purger(age=0).run() == PurgeSummary(found=1, purged=1)


async def test_a_run_that_cannot_find_the_uploads_says_so_and_the_next_one_comes(fragile, eventually) -> None:
    driver, registry = fragile
    key = await registry.start()
    driver.broken = "/_uploads"
    failures = count("upload_purge_failures")
    work = asyncio.create_task(purge_periodically(registry.purger(age=0), first_after=0, interval=0.01))
    await eventually(lambda: count("upload_purge_failures") >= failures + 2, "two runs failed")
    assert await registry.is_known(key)
    driver.broken = ""

    async def gone() -> bool:
        return not await registry.is_known(key)

    await eventually(gone, "the upload is purged")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


@pytest.mark.parametrize(
    ("maintenance", "environ", "here"),
    [
        ("{}", {}, True),
        ("{}", {"MOORAGE_WORKER": "1"}, True),
        ("{}", {"MOORAGE_WORKER": "2"}, False),
        ("{uploadpurging: {enabled: false}}", {}, False),
        ("{readonly: {enabled: true}}", {}, False),
    ],
)
def test_one_of_several_workers_purges_unless_it_is_off_or_nothing_may_be_written(
    maintenance: str, environ: dict[str, str], here: bool
) -> None:
    config = parse(f"version: 0.1\nstorage: {{inmemory: , maintenance: {maintenance}}}\n", {})
    assert purges_here(config, environ) is here


async def test_the_first_run_waits_for_its_time(fragile, eventually) -> None:
    _, registry = fragile
    key = await registry.start()
    await asyncio.sleep(0.01)
    work = asyncio.create_task(purge_periodically(registry.purger(age=0), first_after=0.3, interval=60))
    await asyncio.sleep(0.1)
    assert await registry.is_known(key)

    async def gone() -> bool:
        return not await registry.is_known(key)

    await eventually(gone, "the upload is purged")
    work.cancel()
    await asyncio.wait([work])
