"""Moving, deleting, and redirecting to a file."""

from __future__ import annotations

import asyncio
import os
import urllib.request
from collections.abc import Awaitable, Callable

import pytest

from blob_service.drivers.interface import (
    PathNotFoundError,
    RedirectRequest,
    StorageDriver,
    UnsupportedMethodError,
)


async def test_a_moved_file_is_at_its_new_path_only(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    content = os.urandom(32)
    await driver.put_content(f"{place}/old/file", content)
    await driver.move(f"{place}/old/file", f"{place}/new/deep/file")
    assert await driver.get_content(f"{place}/new/deep/file") == content
    await check_missing(f"{place}/old/file")


async def test_a_move_replaces_what_was_there(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    await driver.put_content(f"{place}/source", os.urandom(32))
    content = await driver.get_content(f"{place}/source")
    await driver.put_content(f"{place}/destination", os.urandom(64))
    await driver.move(f"{place}/source", f"{place}/destination")
    assert await driver.get_content(f"{place}/destination") == content
    await check_missing(f"{place}/source")


async def test_moving_nothing_fails_and_leaves_the_destination_alone(
    driver: StorageDriver, place: str
) -> None:
    await driver.put_content(f"{place}/destination", b"content")
    with pytest.raises(PathNotFoundError) as caught:
        await driver.move(f"{place}/missing", f"{place}/destination")
    assert caught.value.path == f"{place}/missing"
    assert driver.name in str(caught.value)
    assert await driver.get_content(f"{place}/destination") == b"content"


async def test_a_file_cannot_be_moved_from_below_a_file(driver: StorageDriver, place: str) -> None:
    await driver.put_content(f"{place}/notadir", b"content")
    with pytest.raises(PathNotFoundError):
        await driver.move(f"{place}/notadir/foo", f"{place}/notadir/bar")
    assert await driver.get_content(f"{place}/notadir") == b"content"


async def test_a_folder_is_not_a_file_that_can_be_moved(driver: StorageDriver, place: str) -> None:
    await driver.put_content(f"{place}/folder/file", b"content")
    with pytest.raises(PathNotFoundError):
        await driver.move(f"{place}/folder", f"{place}/elsewhere")
    assert await driver.get_content(f"{place}/folder/file") == b"content"


async def test_a_move_to_the_same_path_changes_nothing(driver: StorageDriver, place: str) -> None:
    await driver.put_content(place, b"content")
    await driver.move(place, place)
    assert await driver.get_content(place) == b"content"


async def test_a_deleted_file_is_gone(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    await driver.put_content(f"{place}/file", b"x")
    await driver.delete(f"{place}/file")
    await check_missing(f"{place}/file")


async def test_deleting_nothing_fails(driver: StorageDriver, place: str) -> None:
    for path in (place, f"{place}/below"):
        with pytest.raises(PathNotFoundError) as caught:
            await driver.delete(path)
        assert driver.name in str(caught.value)


async def test_a_folder_is_deleted_with_all_that_is_below(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    files = [f"{place}/folder/{name}" for name in ("1", "2", "sub/3", "sub/deep/er/4")]
    for path in files:
        await driver.put_content(path, b"x")
    await driver.delete(files[0])
    await check_missing(files[0])
    for path in files[1:]:
        assert await driver.get_content(path) == b"x"
    await driver.delete(f"{place}/folder")
    for path in files:
        await check_missing(path)


async def test_a_path_that_only_begins_like_the_deleted_one_stays(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    for path in ("a", "ab", "a-b", "a.b", "d/file", "dsuffix/file", "d.suffix/file"):
        await driver.put_content(f"{place}/{path}", b"x")
    await driver.delete(f"{place}/a")
    await driver.delete(f"{place}/d")
    await check_missing(f"{place}/a")
    await check_missing(f"{place}/d/file")
    for path in ("ab", "a-b", "a.b", "dsuffix/file", "d.suffix/file"):
        assert await driver.get_content(f"{place}/{path}") == b"x"


async def test_puts_and_deletes_of_one_folder_at_once_do_not_fail(driver: StorageDriver, place: str) -> None:
    async def put() -> None:
        for number in range(40):
            await driver.put_content(f"{place}/deep/folder/{number % 3}", b"content")

    async def delete(path: str) -> None:
        for _ in range(40):
            try:
                await driver.delete(path)
            except PathNotFoundError:
                await asyncio.sleep(0.001)

    await asyncio.gather(put(), put(), delete(place), delete(f"{place}/deep"))
    await driver.put_content(f"{place}/deep/folder/last", b"last")
    assert await driver.get_content(f"{place}/deep/folder/last") == b"last"


async def test_a_redirect_leads_to_the_content_or_there_is_none(driver: StorageDriver, place: str) -> None:
    content = os.urandom(32)
    await driver.put_content(place, content)
    for method in ("GET", "HEAD"):
        url = await driver.redirect_url(RedirectRequest(method), place)
        if url is None:
            continue
        request = urllib.request.Request(url, method=method)
        with await asyncio.to_thread(urllib.request.urlopen, request) as response:
            assert response.status == 200
            assert int(response.headers["Content-Length"]) == len(content)
            assert response.read() == (content if method == "GET" else b"")


async def test_no_other_method_can_be_redirected(driver: StorageDriver, place: str) -> None:
    with pytest.raises(UnsupportedMethodError):
        await driver.redirect_url(RedirectRequest("PUT"), place)
