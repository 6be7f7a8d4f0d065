"""A cluster that loses its OSD, or whose OSD hangs: errors in time, no hang, and recovery by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from blob_service.drivers import factory
from blob_service.drivers.errors import NoSpaceError
from blob_service.drivers.interface import DriverError, FileWriter, StorageDriver
from blob_service.health import StorageHealth
from support.ceph import Ceph

pytestmark = pytest.mark.timeout(120)

TIMEOUT = 2
CONTENT = random.Random(1).randbytes(10 << 20)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Ceph]:
    """A cluster of this module's own, whose OSD keeps its objects when it is killed."""
    with Ceph(durable=True) as cluster:
        yield cluster


@pytest.fixture
def create(cluster: Ceph) -> Callable[..., StorageDriver]:
    def create(**others: Any) -> StorageDriver:
        access = cluster.access
        return factory.create(
            "rados",
            {
                "poolname": access.pool,
                "username": access.user,
                "conffile": access.conffile,
                "timeout": TIMEOUT,
                "writerlease": 1.0,
                **others,
            },
        )

    return create


@pytest.fixture
async def driver(create: Callable[..., StorageDriver]) -> AsyncIterator[StorageDriver]:
    driver = create()
    await driver.put_content("/file", CONTENT)
    yield driver
    await driver.close()


async def until_it_answers(driver: StorageDriver) -> None:
    async with asyncio.timeout(90):
        while True:
            try:
                await driver.stat("/")
            except DriverError:
                await asyncio.sleep(0.1)
            else:
                return


async def refused_in_time(call: Awaitable[Any]) -> None:
    """The call fails with a sentence about the cluster, soon after the timeout and not before half of it."""
    started = time.monotonic()
    with pytest.raises(DriverError, match="no answer from the cluster in time"):
        await call
    # librados looks at its timeouts a few times a second; a call is at most a few operations.
    assert time.monotonic() - started < 4 * TIMEOUT


async def read(driver: StorageDriver, path: str) -> bytes:
    async with await driver.reader(path) as reader:
        return b"".join([chunk async for chunk in reader])


async def write(driver: StorageDriver, path: str, content: bytes) -> None:
    async with await driver.writer(path) as writer:
        await writer.write(content)
        await writer.commit()


async def write_on_and_on(writer: FileWriter) -> None:
    """More than fits what a writer holds."""
    for _ in range(100):
        await writer.write(CONTENT[:1_000_000])


@pytest.fixture(params=["hangs", "is killed"])
async def fault(request: pytest.FixtureRequest, cluster: Ceph) -> AsyncIterator[tuple[Any, Any]]:
    """What does it, and what undoes it; undone at the end in any case."""
    breaks, mends = {
        "hangs": (cluster.pause_osd, cluster.resume_osd),
        "is killed": (cluster.kill_osd, cluster.start_osd),
    }[request.param]
    broken = False

    def break_() -> None:
        nonlocal broken
        broken = True
        breaks()

    def mend() -> None:
        nonlocal broken
        if broken:
            broken = False
            mends()

    yield break_, mend
    mend()


async def test_calls_fail_in_time_while_the_osd_is_away_and_succeed_when_it_is_back(
    driver: StorageDriver, fault: tuple[Any, Any]
) -> None:
    break_, mend = fault
    break_()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    started = time.monotonic()
    await asyncio.gather(
        *map(
            refused_in_time,
            [
                driver.get_content("/file"),
                driver.put_content("/other", b"x"),
                driver.stat("/file"),
                driver.stat("/"),
                driver.list("/"),
                driver.delete("/file"),
                driver.move("/file", "/moved"),
                read(driver, "/file"),
                write(driver, "/stream", b"x"),
            ],
        )
    )
    ticking.cancel()
    # The event loop had its turns all the while.
    assert ticks > (time.monotonic() - started) * 20

    mend()
    await until_it_answers(driver)
    assert await driver.get_content("/file") == CONTENT
    await asyncio.sleep(1.2)
    await write(driver, "/stream", CONTENT)
    assert await read(driver, "/stream") == CONTENT


async def test_a_stream_that_the_osd_leaves_ends_with_an_error_and_what_was_flushed_is_continued(
    driver: StorageDriver, fault: tuple[Any, Any]
) -> None:
    break_, mend = fault
    writer = await driver.writer("/upload")
    await writer.write(CONTENT[:6_000_000])
    await writer.flush()
    break_()
    with pytest.raises(DriverError, match="no answer from the cluster in time"):
        await write_on_and_on(writer)
    with pytest.raises(DriverError):
        await writer.commit()
    with pytest.raises(DriverError):
        await writer.close()

    mend()
    await until_it_answers(driver)
    await asyncio.sleep(1.2)
    async with await driver.writer("/upload", append=True) as successor:
        assert successor.size >= 6_000_000
        size = successor.size
        await successor.write(b"and on")
        await successor.commit()
    content = await read(driver, "/upload")
    assert content[:6_000_000] == CONTENT[:6_000_000]
    assert content[size:] == b"and on"


async def test_a_slow_osd_only_takes_time(driver: StorageDriver, cluster: Ceph) -> None:
    cluster.pause_osd()
    reading = asyncio.ensure_future(driver.get_content("/file"))
    writing = asyncio.ensure_future(write(driver, "/slow", CONTENT))
    await asyncio.sleep(TIMEOUT / 2)
    assert not reading.done()
    assert not writing.done()
    cluster.resume_osd()
    assert await reading == CONTENT
    await writing
    assert await read(driver, "/slow") == CONTENT


async def test_health_turns_red_when_the_osd_is_away_and_green_when_it_is_back(
    driver: StorageDriver, fault: tuple[Any, Any]
) -> None:
    break_, mend = fault
    reports: asyncio.Queue[bool] = asyncio.Queue()
    health = StorageHealth(driver, reports.put, interval=0.2, threshold=2, timeout=TIMEOUT)
    watching = asyncio.ensure_future(health.watch())
    try:
        async with asyncio.timeout(90):
            assert await reports.get() is True
            break_()
            assert await reports.get() is False
            mend()
            assert await reports.get() is True
    finally:
        watching.cancel()


async def test_a_driver_can_be_closed_while_the_osd_is_away(
    create: Callable[..., StorageDriver], cluster: Ceph
) -> None:
    driver = create()
    cluster.pause_osd()
    try:
        calls = [asyncio.ensure_future(driver.stat("/")) for _ in range(3)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        async with asyncio.timeout(4 * TIMEOUT):
            await asyncio.wait(calls)
            await driver.close()
    finally:
        cluster.resume_osd()


async def test_a_full_pool_refuses_what_is_written_and_takes_deletions(
    driver: StorageDriver, cluster: Ceph
) -> None:
    await driver.put_content("/old", b"x")
    cluster.ceph("osd", "set-full-ratio", "0.000001")
    cluster.ceph("tell", "osd.0", "injectfull", "full")
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    await driver.put_content("/probe", b"x")
                except NoSpaceError:
                    break
                await asyncio.sleep(0.2)
        with pytest.raises(NoSpaceError):
            await write(driver, "/stream", CONTENT)
        assert await driver.get_content("/old") == b"x"
        await driver.delete("/old")
    finally:
        cluster.ceph("tell", "osd.0", "injectfull", "none")
        cluster.ceph("osd", "set-full-ratio", "0.95")
