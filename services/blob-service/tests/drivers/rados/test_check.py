"""What a check of a pool finds, and that a repair loses no file."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from blob_service.drivers.interface import Finding, PathNotFoundError, StorageDriver
from blob_service.drivers.rados import check as kinds
from blob_service.drivers.rados.holders import Holder

STRIPE = 64 << 10


class Objects(Protocol):
    """See conftest.py."""

    context: Any
    names: Callable[..., list[str]]
    entries: Callable[[str], dict[str, str]]
    set_entries: Callable[..., None]


Check = Callable[..., Awaitable[list[Finding]]]


@pytest.fixture
async def kept(driver: StorageDriver) -> dict[str, bytes]:
    """Files that every repair has to leave as they are."""
    files = {
        "/docker/blobs/aa/data": random.Random(1).randbytes(5 * STRIPE + 1),
        "/docker/repositories/a/link": b"sha256:aa",
        "/docker/empty": b"",
    }
    for path, content in files.items():
        await driver.put_content(f"{path}.new", content)
        await driver.move(f"{path}.new", path)
    writer = await driver.writer("/docker/uploads/1/data")
    await writer.write(bytes(2 * STRIPE + 9))
    await writer.close()
    return {**files, "/docker/uploads/1/data": bytes(2 * STRIPE + 9)}


async def assert_kept(driver: StorageDriver, kept: dict[str, bytes]) -> None:
    found = {info.path async for info in driver.walk("/") if not info.is_dir}
    assert found == set(kept)
    for path, content in kept.items():
        assert await driver.get_content(path) == content


async def assert_repaired(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, kind: str, subjects: set[str]
) -> None:
    """Exactly that is found, left alone without `repair`, and gone with it; and all else is as it was."""
    for repair in (False, True):
        findings = await check(repair=repair)
        assert {finding.subject for finding in findings} == subjects
        assert {finding.kind for finding in findings} == {kind}
        assert all(finding.repaired is repair for finding in findings)
    assert await check() == []
    await assert_kept(driver, kept)


async def test_a_pool_in_order_has_nothing_to_find(
    driver: StorageDriver, kept: dict[str, bytes], check: Check
) -> None:
    assert await check(repair=True) == []
    await assert_kept(driver, kept)


async def test_data_that_no_path_refers_to_is_removed(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    await driver.put_content("/lost/file", bytes(3 * STRIPE))
    data = objects.entries("/lost")["file"]
    objects.context.remove_object("/lost")
    await driver.delete("/lost")
    await assert_repaired(driver, kept, check, kinds.UNREFERENCED, {data})
    assert not [name for name in objects.names() if name.startswith(data)]


async def test_stripes_that_a_cut_off_removal_left_are_removed(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    for number in (1, 2, 7):
        objects.context.write_full(f"blob:gone-{number}", b"x")
    subjects = {"blob:gone-1", "blob:gone-2", "blob:gone-7"}
    await assert_repaired(driver, kept, check, kinds.UNREFERENCED, subjects)


async def test_stripes_beyond_the_end_of_a_file_are_removed(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    data = objects.entries("/docker/blobs/aa")["data"]
    objects.context.write_full(f"{data}-6", b"x")
    objects.context.write_full(f"{data}-9", b"x")
    await assert_repaired(driver, kept, check, kinds.BEYOND_END, {f"{data}-6", f"{data}-9"})


async def test_a_path_whose_data_is_lost_is_removed(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    objects.set_entries("/docker", dangling="blob:nothing")
    await assert_repaired(driver, kept, check, kinds.LOST_DATA, {"/docker/dangling"})
    with pytest.raises(PathNotFoundError):
        await driver.stat("/docker/dangling")


async def test_a_file_that_lacks_a_stripe_is_reported_and_cannot_be_repaired(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    data = objects.entries("/docker/blobs/aa")["data"]
    objects.context.remove_object(f"{data}-3")
    (finding,) = await check(repair=True)
    assert (finding.kind, finding.subject, finding.repaired) == (
        kinds.LOST_STRIPES,
        "/docker/blobs/aa/data",
        False,
    )


async def test_a_folder_that_is_out_of_sight_is_shown_again(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    objects.context.remove_object("/docker/repositories")
    await assert_repaired(driver, kept, check, kinds.OUT_OF_SIGHT, {"/docker/repositories/a"})


async def test_an_empty_folder_that_is_out_of_sight_is_removed(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    objects.context.write_full("/docker/left/behind", b"")
    await assert_repaired(driver, kept, check, kinds.OUT_OF_SIGHT, {"/docker/left/behind"})


async def test_data_that_two_paths_share_without_its_knowledge_stays_until_the_last_has_gone(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    await driver.put_content("/docker/one", b"shared")
    data = objects.entries("/docker")["one"]
    objects.set_entries("/docker", other=data)
    both = {**kept, "/docker/one": b"shared", "/docker/other": b"shared"}
    await assert_repaired(driver, both, check, kinds.UNLISTED_PATHS, {data})
    await driver.delete("/docker/one")
    assert await driver.get_content("/docker/other") == b"shared"
    await driver.delete("/docker/other")
    assert f"{data}-0" not in objects.names()


async def test_the_lease_of_a_dead_writer_is_removed_and_that_of_a_living_one_is_not(
    open_driver: Callable[..., StorageDriver],
    driver: StorageDriver,
    kept: dict[str, bytes],
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Holder, "is_known_to_be_dead", lambda self: False)
    path = "/docker/uploads/1/data"
    dead = await open_driver(writerlease=1.0).writer(path, append=True)
    dead._writer._lease._renewing.cancel()
    dead._writer._closed = True
    assert await check(repair=True) == [], "it has not run out"
    await asyncio.sleep(1.2)
    await assert_repaired(driver, kept, check, kinds.DEAD_LEASE, {path})


async def test_an_object_of_somebody_else_is_reported_and_left_alone(check: Check, objects: Objects) -> None:
    objects.context.write_full("rbd_directory", b"x")
    (finding,) = await check(repair=True)
    assert (finding.kind, finding.subject, finding.repaired) == (kinds.STRANGE, "rbd_directory", False)
    assert objects.names() == ["rbd_directory"]


async def test_what_was_changed_lately_is_left_alone(
    driver: StorageDriver, kept: dict[str, bytes], check: Check, objects: Objects
) -> None:
    data = objects.entries("/docker/blobs/aa")["data"]
    objects.context.write_full(f"{data}-6", b"x")
    objects.context.write_full("blob:gone-0", b"x")
    assert await check(repair=True, older_than=60) == []
    assert {f"{data}-6", "blob:gone-0"} <= set(objects.names())


async def test_repairs_beside_work_in_progress_take_nothing_from_it(
    open_driver: Callable[..., StorageDriver], check: Check
) -> None:
    driver = open_driver()
    finished = asyncio.Event()
    contents = {number: random.Random(number).randbytes(2 * STRIPE + number) for number in range(6)}

    async def work(number: int) -> None:
        for turn in range(15):
            upload, blob = f"/uploads/{number}/data", f"/blobs/{number}/{turn}"
            async with await driver.writer(upload) as writer:
                await writer.write(contents[number][:STRIPE])
                await writer.flush()
                await writer.write(contents[number][STRIPE:])
                await writer.commit()
                await driver.move(upload, blob)
            await driver.delete(f"/uploads/{number}")
            assert await driver.get_content(blob) == contents[number]

    async def repair() -> None:
        while not finished.is_set():
            # A few seconds, where an operator has an hour: the steps here are quicker than that.
            findings = await check(repair=True, older_than=5)
            assert not [finding for finding in findings if finding.kind == kinds.LOST_DATA]

    repairing = asyncio.ensure_future(repair())
    await asyncio.gather(*map(work, contents))
    finished.set()
    await repairing
    for number, content in contents.items():
        for turn in range(15):
            assert await driver.get_content(f"/blobs/{number}/{turn}") == content
    assert await check() == []
