"""A gateway that dies, hangs and comes back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from blob_service.drivers.errors import DriverError
from blob_service.drivers.interface import FileWriter
from blob_service.drivers.s3.driver import S3Driver
from blob_service.drivers.s3.settings import Settings
from blob_service.health import StorageHealth
from support.ceph import Ceph
from support.s3 import TestBucket

MIB = 1 << 20
CONTENT = os.urandom(31 * MIB + 5)


@pytest.fixture(scope="module")
def own_ceph() -> Iterator[Ceph]:
    """A cluster whose gateway the tests may kill."""
    with Ceph() as ceph:
        ceph.start_gateway()
        yield ceph


@pytest.fixture
async def faulty(own_ceph: Ceph, root: str) -> AsyncIterator[Callable[..., S3Driver]]:
    assert own_ceph.s3 is not None
    bucket = TestBucket(own_ceph.s3, "faults").create()
    drivers: list[S3Driver] = []

    def make(**more: Any) -> S3Driver:
        drivers.append(S3Driver(Settings.of(bucket.parameters(root, chunksize=5 * MIB, **more))))
        return drivers[-1]

    yield make
    for driver in drivers:
        await driver.close()


async def write_all(writer: FileWriter, content: bytes) -> None:
    for start in range(0, len(content), MIB):
        await writer.write(content[start : start + MIB])


async def test_an_upload_outlives_a_gateway_that_is_killed_and_started_again(
    own_ceph: Ceph, faulty: Callable[..., S3Driver]
) -> None:
    driver = faulty()
    async with await driver.writer("/data") as writer:
        for start in range(0, len(CONTENT), MIB):
            await writer.write(CONTENT[start : start + MIB])
            if start == 9 * MIB:
                own_ceph.kill_gateway()
                restarted = asyncio.create_task(asyncio.to_thread(own_ceph.restart_gateway))
        await writer.commit()
        await restarted
    assert await driver.get_content("/data") == CONTENT


async def test_what_was_acknowledged_is_there_after_an_outage_and_can_be_continued(
    own_ceph: Ceph, faulty: Callable[..., S3Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blob_service.drivers.s3.requests.ATTEMPTS", 2)
    driver = faulty()
    async with await driver.writer("/data") as writer:
        await writer.write(CONTENT[: 7 * MIB])
    writer = await driver.writer("/data", append=True)
    own_ceph.kill_gateway()
    try:
        with pytest.raises(DriverError, match="Could not connect"):
            await write_all(writer, CONTENT[7 * MIB :])
        with pytest.raises(DriverError):
            await writer.close()
        with pytest.raises(DriverError):
            await driver.get_content("/data")
    finally:
        own_ceph.restart_gateway()
    async with await driver.writer("/data", append=True) as writer:
        assert writer.size == 7 * MIB
        await writer.write(CONTENT[7 * MIB :])
        await writer.commit()
    assert await driver.get_content("/data") == CONTENT


async def test_a_gateway_that_hangs_is_a_clear_error_within_the_timeouts_and_then_works_again(
    own_ceph: Ceph, faulty: Callable[..., S3Driver]
) -> None:
    driver = faulty(timeout=1.0)
    await driver.put_content("/file", b"content")
    writer = await driver.writer("/data")
    own_ceph.pause_gateway()
    try:
        for call in (driver.get_content("/file"), driver.put_content("/other", b"x"), driver.stat("/")):
            started = time.monotonic()
            with pytest.raises(DriverError, match="the endpoint does not answer"):
                await call
            assert time.monotonic() - started < 10
        # A part that fills the connection's buffers, and then is not taken.
        with pytest.raises(DriverError, match="the endpoint does not answer"):
            await write_all(writer, CONTENT)
    finally:
        own_ceph.resume_gateway()
    # What was written is still there to be tried once more.
    assert await driver.get_content("/file") == b"content"
    size = writer.size
    await writer.commit()
    await writer.close()
    assert await driver.get_content("/data") == CONTENT[:size]


async def test_a_slow_endpoint_that_goes_on_is_waited_for(
    own_ceph: Ceph, faulty: Callable[..., S3Driver]
) -> None:
    driver = faulty(timeout=4.0)
    await driver.put_content("/file", CONTENT)
    own_ceph.pause_gateway()
    reading = asyncio.create_task(driver.get_content("/file"))
    await asyncio.sleep(1.5)
    own_ceph.resume_gateway()
    assert await reading == CONTENT


async def test_health_turns_red_while_the_gateway_is_away_and_recovers_by_itself(
    own_ceph: Ceph, faulty: Callable[..., S3Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blob_service.drivers.s3.requests.ATTEMPTS", 2)
    states: list[bool] = []
    changed = asyncio.Event()

    async def report(serving: bool) -> None:
        states.append(serving)
        changed.set()

    health = StorageHealth(faulty(), report, interval=0.1, threshold=1, timeout=3.0)
    watch = asyncio.create_task(health.watch())

    async def until(serving: bool) -> None:
        while not states or states[-1] is not serving:
            changed.clear()
            await asyncio.wait_for(changed.wait(), 30)

    own_ceph.kill_gateway()
    await until(False)
    own_ceph.restart_gateway()
    await until(True)
    watch.cancel()
    await asyncio.wait([watch])
