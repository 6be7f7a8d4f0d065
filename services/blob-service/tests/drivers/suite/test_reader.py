"""Streams out of a driver."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from blob_service.drivers.interface import (
    CHUNK_SIZE,
    DriverError,
    InvalidOffsetError,
    PathNotFoundError,
    StorageDriver,
)

MIB = 1 << 20

CONTENT = os.urandom(96)


async def test_a_reader_starts_at_its_offset(
    driver: StorageDriver, place: str, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    await driver.put_content(place, CONTENT)
    for offset in (0, 32, 64, 95):
        assert await read_all(place, offset) == CONTENT[offset:]


async def test_a_reader_stops_after_its_length(
    driver: StorageDriver, place: str, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    await driver.put_content(place, CONTENT)
    for offset, length in ((0, 1), (10, 20), (95, 1), (90, 100), (0, 96), (50, 0)):
        assert await read_all(place, offset, length) == CONTENT[offset : offset + length]


async def test_a_reader_past_the_end_is_empty(
    driver: StorageDriver, place: str, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    await driver.put_content(place, CONTENT)
    for offset in (96, 97, 1 << 40):
        assert await read_all(place, offset) == b""
        assert await read_all(place, offset, 5) == b""


async def test_a_negative_offset_is_refused_when_the_reader_is_opened(
    driver: StorageDriver, place: str
) -> None:
    await driver.put_content(place, CONTENT)
    with pytest.raises(InvalidOffsetError) as caught:
        await driver.reader(place, -1)
    assert (caught.value.path, caught.value.offset) == (place, -1)
    assert driver.name in str(caught.value)


async def test_a_negative_length_is_refused(driver: StorageDriver, place: str) -> None:
    await driver.put_content(place, CONTENT)
    with pytest.raises(ValueError, match="length"):
        await driver.reader(place, 0, length=-1)


@pytest.mark.parametrize("offset", [0, 64])
async def test_a_missing_file_is_noticed_when_the_reader_is_opened(
    driver: StorageDriver, place: str, offset: int
) -> None:
    with pytest.raises(PathNotFoundError) as caught:
        await driver.reader(place, offset)
    assert driver.name in str(caught.value)


async def test_chunks_are_never_empty_nor_larger_than_the_limit(driver: StorageDriver, place: str) -> None:
    content = os.urandom(3 * CHUNK_SIZE + 17)
    await driver.put_content(place, content)
    async with await driver.reader(place, 5) as reader:
        chunks = [chunk async for chunk in reader]
    assert b"".join(chunks) == content[5:]
    assert all(0 < len(chunk) <= CHUNK_SIZE for chunk in chunks)


async def test_a_reader_can_be_left_at_any_time(driver: StorageDriver, place: str) -> None:
    content = os.urandom(3 * CHUNK_SIZE)
    await driver.put_content(place, content)
    untouched = await driver.reader(place)
    await untouched.aclose()
    begun = await driver.reader(place)
    assert content.startswith(await anext(begun))
    for _ in range(2):
        await begun.aclose()
    assert [chunk async for chunk in begun] == []


async def test_an_open_reader_goes_on_with_the_content_that_it_was_opened_on(
    driver: StorageDriver, place: str
) -> None:
    content = os.urandom(4 * CHUNK_SIZE)
    for change in (driver.put_content(place, b"other"), driver.delete(place)):
        await driver.put_content(place, content)
        async with await driver.reader(place) as reader:
            received = await anext(reader)
            await change
            try:
                async for chunk in reader:
                    received += chunk
            except DriverError:
                # A backend that cannot go on says so.
                continue
        assert received == content


async def test_many_readers_of_one_file_do_not_disturb_each_other(
    driver: StorageDriver, place: str, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    content = os.urandom(16 * MIB)
    await driver.put_content(place, content)

    async def read_from(offset: int) -> None:
        assert await read_all(place, offset) == content[offset:]

    await asyncio.gather(*(read_from(random.randrange(len(content))) for _ in range(10)))


@pytest.mark.parametrize(("offset", "length"), [(0, None), (0, 10), (40, None), (40, 10), (96, None)])
async def test_where_there_is_an_open_file_it_holds_the_bytes_at_their_offsets(
    driver: StorageDriver, place: str, offset: int, length: int | None
) -> None:
    await driver.put_content(place, CONTENT)
    async with await driver.reader(place, offset, length=length) as reader:
        descriptor = reader.descriptor
        if descriptor is not None:
            assert os.fstat(descriptor).st_size == len(CONTENT)
            assert os.pread(descriptor, len(CONTENT), 0) == CONTENT
            # Nobody's position moves: several may send from it.
            assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        received = b"".join([chunk async for chunk in reader])
    end = len(CONTENT) if length is None else offset + length
    assert received == CONTENT[offset:end]
    assert reader.descriptor is None
