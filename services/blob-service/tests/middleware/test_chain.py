"""What every storage middleware has in common, and how several go together."""

from __future__ import annotations

import inspect

import pytest

from blob_service.drivers.base import BoundedDriver
from blob_service.drivers.interface import (
    InvalidPathError,
    RedirectRequest,
    StorageDriver,
    UnsupportedMethodError,
)
from blob_service.middleware.base import DriverMiddleware

GET = RedirectRequest("GET")
CDN = "{name: redirect, options: {baseurl: 'https://cdn.example/base/'}}"
REWRITE = "{name: rewrite, options: {host: 'edge.example'}}"


@pytest.mark.parametrize("wrapper", [DriverMiddleware, BoundedDriver])
def test_every_call_of_a_driver_is_passed_on(wrapper: type[StorageDriver]) -> None:
    """A call with an answer of its own in the interface would otherwise be answered there, without a word."""
    calls = {name for name, _ in inspect.getmembers(StorageDriver) if not name.startswith("_")}
    assert calls <= set(vars(wrapper))


async def test_all_but_redirects_are_the_drivers(bucket, wrapped) -> None:
    driver = wrapped(bucket, CDN)
    await driver.put_content("/a/file", b"content")
    async with await driver.writer("/a/data") as writer:
        await writer.write(b"more")
        await writer.commit()
    await driver.move("/a/data", "/b/data")
    async with await driver.reader("/b/data", 1, length=2) as reader:
        assert [chunk async for chunk in reader] == [b"or"]
    assert await driver.get_content("/a/file") == b"content"
    assert (await driver.stat("/b/data")).size == 4
    assert await driver.list("/", after="a") == ["/b"]
    assert [info.path async for info in driver.walk("/", start_after="/a/file")] == ["/b", "/b/data"]
    await driver.delete("/b")
    assert await driver.list("/") == ["/a"]
    assert driver.object_key("/a/file") == "root folder/a/file"
    assert driver.name == bucket.name


@pytest.mark.parametrize("entries", [CDN, REWRITE])
async def test_what_cannot_be_redirected_is_refused_as_by_a_driver(bucket, wrapped, entries: str) -> None:
    driver = wrapped(bucket, entries)
    with pytest.raises(InvalidPathError):
        await driver.redirect_url(GET, "/../etc/passwd")
    with pytest.raises(UnsupportedMethodError):
        await driver.redirect_url(RedirectRequest("PUT"), "/file")


async def test_the_last_entry_has_the_last_word(bucket, wrapped) -> None:
    assert await wrapped(bucket, f"{CDN}, {REWRITE}").redirect_url(GET, "/a") == "https://edge.example/base/a"
    assert await wrapped(bucket, f"{REWRITE}, {CDN}").redirect_url(GET, "/a") == "https://cdn.example/base/a"


async def test_a_disabled_entry_changes_nothing(bucket, wrapped) -> None:
    disabled = "{name: redirect, disabled: true, options: {baseurl: 'https://cdn.example'}}"
    assert wrapped(bucket, f"{disabled}, {{name: akamai, disabled: true}}") is bucket
