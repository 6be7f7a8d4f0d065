"""Small files, put and got whole."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from blob_service.drivers.interface import (
    PathNotFoundError,
    StorageDriver,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a",
        "ß".encode(),
        b"\x80\x80\x80\x80",
        random.Random(1).randbytes(32),
        random.Random(2).randbytes(MIB),
    ],
    ids=["empty", "one byte", "unicode", "not utf-8", "32 bytes", "1 MiB"],
)
async def test_what_was_put_is_read_back(
    driver: StorageDriver, place: str, content: bytes, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    await driver.put_content(place, content)
    assert await driver.get_content(place) == content
    assert await read_all(place) == content
    assert (await driver.stat(place)).size == len(content)


@pytest.mark.parametrize(("first", "second"), [(MIB, 1024), (4096, 2048), (10, 0), (0, 10)])
async def test_a_second_put_replaces_the_first_whole(
    driver: StorageDriver, place: str, first: int, second: int
) -> None:
    await driver.put_content(place, os.urandom(first))
    content = os.urandom(second)
    await driver.put_content(place, content)
    assert await driver.get_content(place) == content


async def test_a_missing_file_is_not_found(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    await check_missing(place)
    await check_missing(f"{place}/below/it")


async def test_nothing_is_found_below_a_file(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    await driver.put_content(place, b"x")
    await check_missing(f"{place}/below")
    with pytest.raises(PathNotFoundError):
        await driver.delete(f"{place}/below")


async def test_a_folder_has_no_content(driver: StorageDriver, place: str) -> None:
    await driver.put_content(f"{place}/file", b"x")
    with pytest.raises(PathNotFoundError):
        await driver.get_content(place)
    with pytest.raises(PathNotFoundError):
        await driver.reader(place)


async def test_readers_see_one_put_or_the_other_and_never_a_mixture(
    driver: StorageDriver, place: str, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    versions = [bytes([version]) * (50_000 + version) for version in range(5)]
    await driver.put_content(place, versions[0])
    finished = asyncio.Event()

    async def put_all() -> None:
        for content in versions * 4:
            await driver.put_content(place, content)
        finished.set()

    async def read() -> None:
        while not finished.is_set():
            assert await driver.get_content(place) in versions
            assert await read_all(place) in versions

    await asyncio.gather(put_all(), read(), read())
