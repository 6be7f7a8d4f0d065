"""Calls that meet on the same names, from one process or several: no file is lost and no data is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import pytest

from blob_service.drivers.interface import DriverError, PathNotFoundError, StorageDriver

STRIPE = 64 << 10


class Objects(Protocol):
    """See conftest.py."""

    names: Callable[..., list[str]]
    stripes: Callable[[], dict[int, int]]


Open = Callable[..., StorageDriver]
Check = Callable[..., Awaitable[list[Any]]]


async def test_of_puts_at_once_one_stays_and_the_others_leave_nothing(
    open_driver: Open, objects: Objects
) -> None:
    drivers = [open_driver() for _ in range(3)]
    contents = [bytes([number]) * (STRIPE + number) for number in range(24)]
    await asyncio.gather(
        *(drivers[number % 3].put_content("/tag/current/link", each) for number, each in enumerate(contents))
    )
    assert await drivers[0].get_content("/tag/current/link") in contents
    assert len(objects.stripes()) == 2


async def test_of_moves_of_one_file_at_once_one_succeeds(
    open_driver: Open, objects: Objects, check: Check
) -> None:
    drivers = [open_driver() for _ in range(3)]
    for round_ in range(8):
        await drivers[0].put_content("/source", b"%d" % round_)
        for number in range(0, 6, 2):
            await drivers[0].put_content(f"/target/{number}", b"old")

        async def move(number: int) -> int | None:
            with suppress(PathNotFoundError):
                await drivers[number % 3].move("/source", f"/target/{number}")
                return number
            return None

        moved = [number for number in await asyncio.gather(*map(move, range(6))) if number is not None]
        assert len(moved) == 1
        for number in range(6):
            path = f"/target/{number}"
            if number == moved[0]:
                assert await drivers[0].get_content(path) == b"%d" % round_
            elif number % 2 == 0:
                assert await drivers[0].get_content(path) == b"old"
        assert await check() == []
        await drivers[0].delete("/target")
        assert objects.names() == []


async def test_files_that_are_put_while_their_folders_are_deleted_are_whole_or_gone(
    open_driver: Open, objects: Objects, check: Check
) -> None:
    drivers = [open_driver() for _ in range(3)]
    finished = asyncio.Event()

    async def put(number: int) -> None:
        driver = drivers[number % 3]
        for turn in range(25):
            await driver.put_content(f"/a/{turn % 3}/b/{number}", b"content")
        finished.set()

    async def delete(folder: str) -> None:
        while not finished.is_set():
            with suppress(PathNotFoundError):
                await drivers[0].delete(folder)
            await asyncio.sleep(random.random() * 0.005)

    await asyncio.gather(*map(put, range(4)), delete("/a"), delete("/a/1"))
    # What was put when nobody deleted any more is there, and can be found from the root.
    await drivers[1].put_content("/a/1/b/last", b"content")
    found = [info.path async for info in drivers[2].walk("/") if not info.is_dir]
    assert "/a/1/b/last" in found
    for path in found:
        assert await drivers[2].get_content(path) == b"content"
    assert await check() == []


async def test_readers_of_a_file_that_is_replaced_get_one_version_or_an_error(
    driver: StorageDriver,
) -> None:
    versions = [bytes([number]) * (10 * STRIPE) for number in range(4)]
    await driver.put_content("/file", versions[0])
    finished = asyncio.Event()

    async def replace() -> None:
        for content in versions * 5:
            await driver.put_content("/file", content)
        finished.set()

    async def read() -> None:
        while not finished.is_set():
            async with await driver.reader("/file") as reader:
                with suppress(DriverError):
                    assert b"".join([chunk async for chunk in reader]) in versions

    await asyncio.gather(replace(), read(), read())


async def test_a_reader_that_is_left_or_cancelled_leaves_nothing_under_way(driver: StorageDriver) -> None:
    await driver.put_content("/file", bytes(100 * STRIPE))
    async with await driver.reader("/file") as reader:
        await anext(reader)
    reader = await driver.reader("/file")
    task = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert [chunk async for chunk in reader] == []


async def test_a_call_on_a_closed_driver_is_refused(open_driver: Open) -> None:
    driver = open_driver()
    await driver.close()
    for call in (
        driver.stat("/"),
        driver.put_content("/a", b"x"),
        driver.writer("/a"),
        driver.get_content("/a"),
    ):
        with pytest.raises(DriverError, match="the driver is closed"):
            await call
