"""Reading ahead in ranges."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from blob_service.drivers.errors import DriverError, PathNotFoundError
from blob_service.drivers.s3.driver import S3Driver
from blob_service.drivers.s3.reader import RANGE_BYTES, RANGES

MIB = 1 << 20
CONTENT = random.Random(9).randbytes(31 * MIB + 5)

WatchRequests = Callable[[S3Driver], Awaitable[Any]]


@pytest.fixture
async def stored(driver: S3Driver) -> S3Driver:
    await driver.put_content("/data", CONTENT)
    return driver


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, None),
        (RANGE_BYTES - 1, None),
        (RANGE_BYTES, RANGE_BYTES),
        (5, 2 * RANGE_BYTES),
        (len(CONTENT) - 1, None),
        (len(CONTENT), None),
        (len(CONTENT) + 7, None),
        (len(CONTENT) - 3, 10),
        (12, 0),
    ],
)
async def test_a_range_is_what_it_is_of_the_content(
    stored: S3Driver, offset: int, length: int | None
) -> None:
    end = None if length is None else offset + length
    async with await stored.reader("/data", offset, length=length) as reader:
        chunks = [chunk async for chunk in reader]
    assert b"".join(chunks) == CONTENT[offset:end]
    assert all(0 < len(chunk) <= MIB for chunk in chunks)


async def test_an_empty_file_and_a_missing_one_are_told_apart(driver: S3Driver) -> None:
    await driver.put_content("/empty", b"")
    for length in (None, 0, 5):
        async with await driver.reader("/empty", length=length) as reader:
            assert [chunk async for chunk in reader] == []
        with pytest.raises(PathNotFoundError):
            await driver.reader("/missing", length=length)


async def test_ranges_are_fetched_ahead_and_never_many(stored: S3Driver, requests_of: WatchRequests) -> None:
    requests = await requests_of(stored)
    async with await stored.reader("/data") as reader:
        assert len(requests.made) == 1
        taken = 0
        async for chunk in reader:
            taken += len(chunk)
            # Let those that were begun get so far as to be sent.
            await asyncio.sleep(0.001)
            assert len(requests.made) <= taken // RANGE_BYTES + 1 + RANGES
    assert len(requests.made) == -(-len(CONTENT) // RANGE_BYTES)


async def test_a_reader_that_is_left_early_has_asked_for_little(
    stored: S3Driver, requests_of: WatchRequests
) -> None:
    requests = await requests_of(stored)
    async with await stored.reader("/data") as reader:
        await anext(reader)
    await asyncio.sleep(0.05)
    assert len(requests.made) <= 2


@pytest.mark.parametrize("change", ["put_content", "delete"])
async def test_a_file_that_changes_is_an_error_and_no_mixture(stored: S3Driver, change: str) -> None:
    async with await stored.reader("/data") as reader:
        assert await anext(reader) == CONTENT[:MIB]
        if change == "delete":
            await stored.delete("/data")
        else:
            await stored.put_content("/data", b"x" * len(CONTENT))
        rest = bytearray()

        async def read_on() -> None:
            async for chunk in reader:
                rest.extend(chunk)

        with pytest.raises(DriverError, match="replaced or deleted"):
            await read_on()
    assert rest == CONTENT[MIB:][: len(rest)]


@pytest.mark.parametrize("when", ["lose_the_answer", "break_the_connection"])
async def test_a_range_that_broke_off_is_read_again(
    stored: S3Driver, requests_of: WatchRequests, when: str
) -> None:
    requests = await requests_of(stored)
    getattr(requests, when)("GetObject", times=3)
    async with await stored.reader("/data") as reader:
        assert b"".join([chunk async for chunk in reader]) == CONTENT


async def test_a_cancelled_reader_ends_its_requests(stored: S3Driver) -> None:
    async def read() -> None:
        async with await stored.reader("/data") as reader:
            async for _ in reader:
                await asyncio.sleep(0.005)

    before = len(asyncio.all_tasks())
    task = asyncio.create_task(read())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert len(asyncio.all_tasks()) <= before
