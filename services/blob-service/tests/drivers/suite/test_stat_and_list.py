"""What a driver says of a path, and of what is in a folder."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from blob_service.drivers.interface import (
    PathNotFoundError,
    StorageDriver,
)


async def test_a_file_has_a_size_and_a_time_that_follows_its_content(
    driver: StorageDriver, place: str
) -> None:
    path = f"{place}/file"
    # Backends with a coarse clock round down.
    before = time.time_ns() - 2_000_000_000
    await driver.put_content(path, os.urandom(4096))
    first = await driver.stat(path)
    assert (first.path, first.name, first.size, first.is_dir) == (path, "file", 4096, False)
    assert before < first.modified_ns < time.time_ns() + 2_000_000_000
    assert abs(first.modified.timestamp() - first.modified_ns / 1e9) < 0.001

    await asyncio.sleep(1.1)
    await driver.put_content(path, os.urandom(100))
    second = await driver.stat(path)
    assert second.size == 100
    assert second.modified_ns > first.modified_ns


async def test_a_folder_is_one_and_has_no_size(driver: StorageDriver, place: str) -> None:
    await driver.put_content(f"{place}/deep/file", b"x")
    for folder in (place, f"{place}/deep"):
        info = await driver.stat(folder)
        assert (info.path, info.size, info.is_dir) == (folder, 0, True)


async def test_a_missing_path_is_not_found(driver: StorageDriver, place: str) -> None:
    with pytest.raises(PathNotFoundError) as caught:
        await driver.stat(place)
    assert driver.name in str(caught.value)


async def test_a_folder_lists_its_direct_children_in_byte_order(driver: StorageDriver, place: str) -> None:
    names = ["a", "B", "a.b", "a-b", "a_b", "ab", "0", "10", "9", "_", ".hidden", "Z"]
    for name in names:
        await driver.put_content(f"{place}/folder/{name}", b"x")
    await driver.put_content(f"{place}/folder/sub/grandchild", b"x")
    expected = [f"{place}/folder/{name}" for name in sorted([*names, "sub"], key=str.encode)]
    assert await driver.list(f"{place}/folder") == expected
    assert await driver.list(place) == [f"{place}/folder"]
    assert await driver.list("/") == [place]


async def test_fifty_files_are_all_listed(driver: StorageDriver, place: str) -> None:
    paths = [f"{place}/{number}" for number in range(50)]
    for path in paths:
        await driver.put_content(path, b"x")
    assert await driver.list(place) == sorted(paths)


async def test_a_missing_folder_or_a_file_cannot_be_listed(driver: StorageDriver, place: str) -> None:
    await driver.put_content(f"{place}/file", b"x")
    for path in (f"{place}/missing", f"{place}/file"):
        with pytest.raises(PathNotFoundError) as caught:
            await driver.list(path)
        assert caught.value.path == path
        assert driver.name in str(caught.value)


async def test_a_listing_is_continued_after_a_name(driver: StorageDriver, place: str) -> None:
    for name in ("a", "ab", "b", "c"):
        await driver.put_content(f"{place}/{name}", b"x")

    async def names(after: str, limit: int | None = None) -> list[str]:
        return [path.rpartition("/")[2] for path in await driver.list(place, after=after, limit=limit)]

    assert await names("") == ["a", "ab", "b", "c"]
    assert await names("a") == ["ab", "b", "c"]
    # The name need not be there, nor be one at all.
    assert await names("aa") == ["ab", "b", "c"]
    assert await names("c") == []
    assert await names("é") == []
    assert await names("a", 2) == ["ab", "b"]


async def test_a_limit_cuts_a_listing(driver: StorageDriver, place: str) -> None:
    for name in ("a", "b", "c"):
        await driver.put_content(f"{place}/{name}", b"x")
    for limit in range(5):
        expected = [f"{place}/{name}" for name in "abc"[:limit]]
        assert await driver.list(place, limit=limit) == expected
    with pytest.raises(ValueError, match="limit"):
        await driver.list(place, limit=-1)
    with pytest.raises(PathNotFoundError):
        await driver.list(f"{place}/missing", limit=0)


async def test_a_listing_can_be_restricted_to_children_that_have_something_below(
    driver: StorageDriver, place: str
) -> None:
    for path in ("a/current/link", "b/index/x", "c/current/link", "d/current/other", "e", "f/current"):
        await driver.put_content(f"{place}/{path}", b"x")

    async def having(relative: str, **options: object) -> list[str]:
        found = await driver.list(place, having=relative, **options)
        return [path.rpartition("/")[2] for path in found]

    assert await having("current/link") == ["a", "c"]
    assert await having("current/link", limit=1) == ["a"]
    assert await having("current/link", after="a") == ["c"]
    # A folder counts as well as a file.
    assert await having("current") == ["a", "c", "d", "f"]
    assert await having("nothing") == []
    assert await having("current/link/below") == []


async def test_a_listing_of_many_is_in_order_whatever_part_of_it_is_asked_for(
    driver: StorageDriver, place: str
) -> None:
    """Few of many, and with gaps: those that do not have what is wanted."""
    names = [f"n{number:03d}" for number in range(200)]
    having = [name for number, name in enumerate(names) if number % 3 == 0 or number > 150]
    for name in sorted(names, key=lambda name: name[::-1]):
        await driver.put_content(f"{place}/{name}/{'current/link' if name in having else 'other'}", b"x")

    async def listed(**options: object) -> list[str]:
        return [path.rpartition("/")[2] for path in await driver.list(place, **options)]

    assert await listed() == names
    assert await listed(having="current/link") == having
    for after in ("", "n002", "n100x", "n199"):
        for limit in (0, 1, 2, 10, 150, None):
            later = [name for name in names if name > after]
            assert await listed(after=after, limit=limit) == later[:limit]
            later = [name for name in having if name > after]
            assert await listed(after=after, limit=limit, having="current/link") == later[:limit]
