"""Writers that die, are stopped, or meet each other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from blob_service.drivers.interface import (
    DriverError,
    PathNotFoundError,
    StorageDriver,
    WriterBusyError,
)
from blob_service.drivers.rados.holders import Holder
from blob_service.drivers.rados.operations import write

STRIPE = 64 << 10


class Objects(Protocol):
    """See conftest.py."""

    context: Any
    names: Callable[..., list[str]]
    stripes: Callable[[], dict[int, int]]
    entries: Callable[[str], dict[str, str]]


Open = Callable[..., StorageDriver]
Check = Callable[..., Awaitable[list[Any]]]


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers from now on hold leases that nobody can know to be dead, as those of other hosts are."""
    monkeypatch.setattr(Holder, "is_known_to_be_dead", lambda self: False)


async def abandon(writer: Any) -> None:
    """Let a writer die: what it sent is under way, and nothing tidies up after it."""
    inner = writer._writer
    inner._lease._renewing.cancel()
    inner._closed = True


async def write_and_flush(writer: Any, content: bytes) -> None:
    await writer.write(content)
    await writer.flush()


async def wait_for_writer(driver: StorageDriver, path: str, seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await driver.writer(path, append=True)
            except WriterBusyError:
                await asyncio.sleep(0.05)


async def test_a_dead_writer_keeps_others_away_no_longer_than_its_lease(
    open_driver: Open, forgotten: None, objects: Objects
) -> None:
    driver = open_driver(writerlease=1.0)
    content = random.Random(1).randbytes(5 * STRIPE)
    writer = await driver.writer("/upload")
    await writer.write(content[: STRIPE + 10])
    await writer.flush()
    await abandon(writer)
    with pytest.raises(WriterBusyError):
        await open_driver().writer("/upload", append=True)
    successor = await wait_for_writer(driver, "/upload", 4)
    assert successor.size == STRIPE + 10
    await successor.write(content[STRIPE + 10 :])
    await successor.commit()
    await successor.close()
    assert await driver.get_content("/upload") == content
    assert not objects.names("lock:")


async def test_a_living_writer_keeps_its_lease_for_as_long_as_it_takes(open_driver: Open) -> None:
    driver = open_driver(writerlease=1.0)
    async with await driver.writer("/upload") as writer:
        for _ in range(5):
            await asyncio.sleep(0.5)
            with pytest.raises(WriterBusyError):
                await driver.writer("/upload", append=True)
        await writer.write(b"x")
        await writer.commit()


@pytest.mark.parametrize("flushed", [0, 100, STRIPE, 2 * STRIPE + 7])
async def test_what_a_dead_writer_sent_and_never_flushed_is_cut_off(
    open_driver: Open, forgotten: None, objects: Objects, check: Check, flushed: int
) -> None:
    driver = open_driver(writerlease=1.0)
    content = random.Random(2).randbytes(40 * STRIPE)
    writer = await driver.writer("/upload")
    await writer.write(content[:flushed])
    await writer.flush()
    await writer.write(bytes(20 * STRIPE + 5))
    await abandon(writer)

    successor = await wait_for_writer(driver, "/upload", 4)
    assert successor.size == flushed
    assert sum(objects.stripes().values()) == flushed
    await successor.write(content[flushed:])
    await successor.commit()
    await successor.close()
    assert await driver.get_content("/upload") == content
    assert await check() == []


async def test_stripes_that_a_dead_writer_sent_and_that_come_late_make_way(
    open_driver: Open, forgotten: None, objects: Objects, check: Check
) -> None:
    driver = open_driver(writerlease=1.0)
    writer = await driver.writer("/upload")
    await writer.write(bytes(STRIPE))
    await writer.flush()
    await abandon(writer)
    successor = await wait_for_writer(driver, "/upload", 4)
    # What the dead one sent goes to other placement groups than what has told the successor where to go on.
    await writer._writer._store(1, [*writer._writer._steps_to(1, 0), write(b"late", 0)])
    content = random.Random(3).randbytes(2 * STRIPE + 1)
    await successor.write(content)
    await successor.commit()
    await successor.close()
    assert await driver.get_content("/upload") == bytes(STRIPE) + content
    assert await check() == []


@pytest.mark.parametrize("flushed", [100, STRIPE + 100])
async def test_a_writer_that_was_stopped_too_long_cannot_write_into_the_file_of_its_successor(
    open_driver: Open, forgotten: None, flushed: int
) -> None:
    driver = open_driver(writerlease=1.0)
    stopped = await driver.writer("/upload")
    await stopped.write(b"a" * flushed)
    await stopped.flush()
    stopped._writer._lease._renewing.cancel()

    successor = await wait_for_writer(driver, "/upload", 4)
    await successor.write(b"b" * (3 * STRIPE))
    await successor.flush()
    with pytest.raises(DriverError, match="another writer has taken over"):
        await write_and_flush(stopped, b"a" * (2 * STRIPE))
    with pytest.raises(DriverError, match="another writer has taken over"):
        await stopped.close()

    await successor.write(b"c" * STRIPE)
    await successor.commit()
    await successor.close()
    expected = b"a" * flushed + b"b" * (3 * STRIPE) + b"c" * STRIPE
    assert await driver.get_content("/upload") == expected


async def test_of_many_writers_at_once_one_gets_the_path_and_no_data_is_left(
    open_driver: Open, objects: Objects
) -> None:
    drivers = [open_driver() for _ in range(3)]

    async def attempt(number: int) -> int:
        try:
            async with await drivers[number % 3].writer("/upload") as writer:
                await asyncio.sleep(0.3)
                await writer.write(bytes([number]) * (2 * STRIPE))
                await writer.commit()
        except WriterBusyError:
            return -1
        return number

    winners = {number for number in await asyncio.gather(*map(attempt, range(12))) if number >= 0}
    assert len(winners) == 1
    assert await drivers[0].get_content("/upload") == bytes(winners) * (2 * STRIPE)
    assert objects.stripes() == {0: STRIPE, 1: STRIPE}


async def test_a_file_that_is_deleted_under_its_writer_leaves_no_stripe(
    driver: StorageDriver, objects: Objects
) -> None:
    for ending in ("cancel", "close"):
        writer = await driver.writer("/uploads/data")
        await writer.write(bytes(3 * STRIPE))
        await writer.flush()
        await driver.delete("/uploads")
        await writer.write(bytes(5 * STRIPE))
        if ending == "close":
            with pytest.raises(PathNotFoundError):
                await writer.close()
        else:
            await writer.cancel()
        assert objects.names() == []


async def test_a_cancelled_upload_leaves_nothing_whatever_was_under_way(
    driver: StorageDriver, objects: Objects
) -> None:
    async with await driver.writer("/uploads/data") as writer:
        await writer.write(bytes(30 * STRIPE + 17))
        await writer.cancel()
    assert objects.names("blob:") == []
    assert objects.names("lock:") == []


async def test_a_task_that_is_cancelled_while_it_opens_a_writer_holds_nothing(
    driver: StorageDriver, objects: Objects
) -> None:
    for delay in (0, 0.0005, 0.001, 0.002, 0.004):
        opening = asyncio.ensure_future(driver.writer("/upload"))
        await asyncio.sleep(delay)
        opening.cancel()
        try:
            await (await opening).close()
        except asyncio.CancelledError:
            assert objects.names("lock:") == []


def test_a_process_is_known_to_be_dead_only_by_those_who_can_tell(tmp_path: Path) -> None:
    here = Holder.this_process()
    assert here is not None
    assert Holder.parse(str(here)) == here
    assert Holder.parse("somebody else") is None
    assert not here.is_known_to_be_dead()
    later = Holder(here.boot, here.namespace, here.pid, here.started + 1)
    assert later.is_known_to_be_dead(), "the id was given to another process"
    no_process = 2**22 + 1
    assert Holder(here.boot, here.namespace, no_process, 1).is_known_to_be_dead()
    assert not Holder("0" * 32, here.namespace, no_process, 1).is_known_to_be_dead()
    assert not Holder(here.boot, here.namespace + 1, no_process, 1).is_known_to_be_dead()
