"""Which paths a driver takes."""

from __future__ import annotations

import os

import pytest

from blob_service.drivers.interface import (
    InvalidPathError,
    RedirectRequest,
    StorageDriver,
)


async def test_the_root_exists_in_an_empty_driver(driver: StorageDriver) -> None:
    assert await driver.list("/") == []
    assert (await driver.stat("/")).is_dir
    assert [info async for info in driver.walk("/")] == []


@pytest.mark.parametrize(
    "path",
    [
        "/a",
        "/2",
        "/aa",
        "/a.a",
        "/0-9/abcdefg",
        "/abcdefg/z.75",
        "/abc/1.2.3.4.5-6_zyx/123.z/4",
        "/docker/docker-registry",
        "/123.abc",
        "/abc./abc",
        "/.abc",
        "/a--b",
        "/a-.b",
        "/_.abc",
        "/Docker/docker-registry",
        "/Abc/Cba",
        "/...",
        "/..a/.a./a..",
    ],
)
async def test_a_path_of_the_grammar_can_be_written_and_read(driver: StorageDriver, path: str) -> None:
    content = os.urandom(64)
    await driver.put_content(path, content)
    assert await driver.get_content(path) == content
    top = "/" + path.split("/")[1]
    assert await driver.list("/") == [top]
    await driver.delete(top)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "abc",
        "123.abc",
        "//bcd",
        "/abc_123/",
        "/a//b",
        "/.",
        "/..",
        "/a/..",
        "/a/../b",
        "/../etc/passwd",
        "/a/./b",
        "/a\n",
        "/a b",
        "/a\x00b",
        "/a\\b",
        "/a:b",
        "/é",
        "/٣",
        "/a%2e",
    ],
)
async def test_a_path_outside_the_grammar_is_refused_by_every_call(driver: StorageDriver, path: str) -> None:
    calls = [
        driver.get_content(path),
        driver.put_content(path, b"x"),
        driver.reader(path),
        driver.writer(path),
        driver.writer(path, append=True),
        driver.move(path, "/fine"),
        driver.move("/fine", path),
        driver.delete(path),
        driver.redirect_url(RedirectRequest("GET"), path),
    ]
    if path != "/":
        calls += [driver.stat(path), driver.list(path), anext(driver.walk(path))]
    for call in calls:
        with pytest.raises(InvalidPathError) as caught:
            await call
        assert caught.value.path == path
        assert driver.name in str(caught.value)


@pytest.mark.parametrize("having", ["/link", "current/", "..", "../other", "a//b", "a b"])
async def test_a_relative_path_outside_the_grammar_is_refused(driver: StorageDriver, having: str) -> None:
    with pytest.raises(InvalidPathError):
        await driver.list("/", having=having)
