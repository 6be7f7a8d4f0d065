"""Walking a tree."""

from __future__ import annotations

import pytest

from blob_service.drivers.interface import (
    FileInfo,
    InvalidPathError,
    PathNotFoundError,
    StorageDriver,
)

TREE = ("b/file", "a/2/x", "a/1", "a-b", "c", "a/2/y/deep")
IN_ORDER = ("a", "a/1", "a/2", "a/2/x", "a/2/y", "a/2/y/deep", "a-b", "b", "b/file", "c")


async def grow(driver: StorageDriver, place: str) -> None:
    for path in TREE:
        await driver.put_content(f"{place}/{path}", path.encode())


async def walked(driver: StorageDriver, place: str, at: str = "", **options: object) -> list[str]:
    found = [info.path async for info in driver.walk(place + at, **options)]
    return [path.removeprefix(f"{place}/") for path in found]


async def test_everything_is_handed_out_each_folder_before_its_content(
    driver: StorageDriver, place: str
) -> None:
    await grow(driver, place)
    assert await walked(driver, place) == list(IN_ORDER)
    assert [info.path async for info in driver.walk("/")] == [
        place,
        *(f"{place}/{path}" for path in IN_ORDER),
    ]


async def test_what_is_handed_out_is_what_stat_says(driver: StorageDriver, place: str) -> None:
    await grow(driver, place)
    infos = [info async for info in driver.walk(place)]
    for info in infos:
        assert info == await driver.stat(info.path)
    assert [info.size for info in infos if not info.is_dir] == [3, 5, 10, 3, 6, 1]


async def test_a_walk_can_begin_at_a_folder_below(driver: StorageDriver, place: str) -> None:
    await grow(driver, place)
    assert await walked(driver, place, "/a/2") == ["a/2/x", "a/2/y", "a/2/y/deep"]


async def test_a_folder_can_be_left_out(driver: StorageDriver, place: str) -> None:
    await grow(driver, place)
    asked = []

    def descend(info: FileInfo) -> bool:
        asked.append(info.path.removeprefix(f"{place}/"))
        return info.name != "2"

    assert await walked(driver, place, descend=descend) == ["a", "a/1", "a/2", "a-b", "b", "b/file", "c"]
    assert asked == ["a", "a/2", "b"]


async def test_a_walk_can_be_stopped_and_continued_anywhere(driver: StorageDriver, place: str) -> None:
    await grow(driver, place)
    for number, last in enumerate(IN_ORDER):
        rest = await walked(driver, place, start_after=f"{place}/{last}")
        assert rest == list(IN_ORDER[number + 1 :])


async def test_a_walk_can_be_continued_after_a_path_that_is_not_there(
    driver: StorageDriver, place: str
) -> None:
    await grow(driver, place)
    for after, first in (("a/1x", "a/2"), ("a/2/xx", "a/2/y"), ("a/3/x", "a-b"), ("0", "a")):
        rest = await walked(driver, place, start_after=f"{place}/{after}")
        assert rest == list(IN_ORDER[IN_ORDER.index(first) :])
    assert await walked(driver, place, start_after=f"{place}/d") == []
    assert await walked(driver, place, start_after="/zzzz") == []
    with pytest.raises(InvalidPathError):
        await walked(driver, place, start_after="no path")


async def test_what_is_deleted_meanwhile_does_not_stop_a_walk(driver: StorageDriver, place: str) -> None:
    await grow(driver, place)
    seen = []
    async for info in driver.walk(place):
        seen.append(info.path.removeprefix(f"{place}/"))
        if seen == ["a"]:
            await driver.delete(f"{place}/a/2/y")
            await driver.delete(f"{place}/b")
    for path in ("a", "a/1", "a/2", "a/2/x", "a-b", "c"):
        assert path in seen
    assert not {"a/2/y", "a/2/y/deep", "b/file"} & set(seen)


async def test_a_walk_needs_a_folder(driver: StorageDriver, place: str) -> None:
    await driver.put_content(f"{place}/file", b"x")
    for path in ("/missing", "/file"):
        with pytest.raises(PathNotFoundError) as caught:
            await walked(driver, place, path)
        assert driver.name in str(caught.value)
