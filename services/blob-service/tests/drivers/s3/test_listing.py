"""Folders, of which a bucket has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.s3 import bucket as bucket_module
from blob_service.drivers.s3 import deleting
from blob_service.drivers.s3 import listing as listing_module
from blob_service.drivers.s3.driver import S3Driver

MakeDriver = Callable[..., S3Driver]
Objects = Callable[[], dict[str, int]]

# Names around the slash in the order of bytes: `-` and `.` before it, digits and letters after it.
NAMES = st.lists(st.sampled_from(["a", "-", ".", "0", "b"]), min_size=1, max_size=4).map(
    lambda letters: "x" + "".join(letters)
)


async def fill(driver: S3Driver, paths: list[str]) -> None:
    limit = asyncio.Semaphore(16)

    async def put(path: str) -> None:
        async with limit:
            await driver.put_content(path, b"")

    await asyncio.gather(*map(put, paths))


async def test_more_than_a_thousand_children_are_listed_and_deleted(
    driver: S3Driver, objects: Objects
) -> None:
    names = sorted(f"tag-{number}" for number in range(1105))
    await fill(driver, [f"/tags/{name}/current/link" for name in names])
    everything = await driver.list("/tags")
    assert everything == [f"/tags/{name}" for name in names]
    assert await driver.list("/tags", after=names[1049], limit=20) == everything[1050:1070]
    assert (
        await driver.list("/tags", having="current/link", limit=30, after="tag-5")
        == [f"/tags/{name}" for name in names if name > "tag-5"][:30]
    )
    assert len([info async for info in driver.walk("/tags")]) == 3 * 1105
    await driver.delete("/tags")
    assert objects() == {}


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    files=st.sets(NAMES, max_size=6),
    folders=st.sets(NAMES, max_size=6),
    page=st.integers(1, 4),
    limit=st.none() | st.integers(0, 5),
    after=st.just("") | NAMES,
    having=st.sampled_from(["", "current", "current/link"]),
)
def test_names_come_in_their_own_order_whatever_the_order_of_keys(
    make_driver: MakeDriver,
    monkeypatch: pytest.MonkeyPatch,
    files: set[str],
    folders: set[str],
    page: int,
    limit: int | None,
    after: str,
    having: str,
) -> None:
    with monkeypatch.context() as patch:
        # A page of the endpoint's is as small as ours, so that many of them meet the same names.
        patch.setattr(bucket_module, "PAGE", page)
        patch.setattr(listing_module, "PAGE", page)

        async def check() -> None:
            driver = make_driver()
            await driver.put_content("/n/always", b"")
            await fill(driver, [f"/n/{name}" for name in files - folders])
            await fill(driver, [f"/n/{name}/current/link" for name in folders])
            there = folders if having else {"always"} | files | folders
            expected = [f"/n/{name}" for name in sorted(there) if name > after][:limit]
            try:
                assert await driver.list("/n", after=after, limit=limit, having=having) == expected
            finally:
                await driver.delete("/n")
                await driver.close()

        asyncio.run(check())


async def test_a_page_of_a_long_list_costs_a_page(
    driver: S3Driver, requests_of: Callable[..., object]
) -> None:
    await fill(driver, [f"/tags/{number:04}/current/link" for number in range(300)])
    requests = await requests_of(driver)  # type: ignore[misc]
    assert len(await driver.list("/tags", after="0100", limit=20)) == 20
    assert requests.names() == ["ListObjectsV2"]


async def test_keys_that_no_path_has_are_not_shown(driver: S3Driver) -> None:
    await driver.put_content("/folder/file", b"")
    for key in ("folder/", "folder/~hidden", "folder/with space", "folder/sub~dir/x"):
        await driver._bucket.put(driver._bucket.keys.root + key, b"")
    assert await driver.list("/folder") == ["/folder/file"]
    assert [info.path async for info in driver.walk("/folder")] == ["/folder/file"]
    await driver.delete("/folder")
    with pytest.raises(PathNotFoundError):
        await driver.stat("/folder")


async def test_a_file_that_is_not_committed_is_seen_with_what_is_on_record(driver: S3Driver) -> None:
    async with await driver.writer("/uploads/1/data") as writer:
        await writer.write(b"12345")
        await writer.flush()
        found = await driver.stat("/uploads/1/data")
        assert (found.size, found.is_dir) == (5, False)
        assert await driver.list("/uploads/1") == ["/uploads/1/data"]
        with pytest.raises(PathNotFoundError):
            await driver.list("/uploads/1/data")
        await writer.cancel()


async def test_a_folder_with_the_beginning_of_the_name_is_not_deleted(driver: S3Driver) -> None:
    await fill(driver, ["/a/file", "/a-b/file", "/ab/file", "/a.b"])
    await driver.delete("/a")
    assert await driver.list("/") == ["/a-b", "/a.b", "/ab"]


async def test_deletion_goes_on_over_pages(
    driver: S3Driver, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "PAGE", 3)
    await fill(driver, [f"/folder/{number}" for number in range(10)])
    await deleting.delete_all(driver._bucket, "/folder")
    assert objects() == {}


async def test_a_bucket_s_root_and_a_root_directory_are_kept_apart(
    make_driver: MakeDriver, root: str
) -> None:
    inner = make_driver(rootdirectory=f"/{root}/inner/")
    await inner.put_content("/file", b"inner")
    outer = make_driver()
    assert await outer.get_content("/inner/file") == b"inner"
    assert await inner.list("/") == ["/file"]
