"""Multipart uploads that a crash left behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from blob_service.drivers.interface import Finding, StorageDriver
from blob_service.drivers.s3 import deleting, multipart
from blob_service.drivers.s3.driver import S3Driver
from blob_service.drivers.s3.multipart import MultipartUpload

MIB = 1 << 20

MakeDriver = Callable[..., S3Driver]
Uploads = Callable[[], list[str]]


async def orphan(driver: S3Driver, path: str) -> None:
    upload = await MultipartUpload.begin(driver._bucket, driver._bucket.keys.of(path))
    await upload.put(1, b"bytes that cost money")


@pytest.fixture
def any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets an upload be an orphan that was begun in the past."""
    monkeypatch.setattr(deleting, "YOUNGEST_ORPHAN", timedelta(0))


async def findings(
    driver: StorageDriver, *, repair: bool = True, older_than: float = 0, thorough: bool = True
) -> list[Finding]:
    check = driver.check(repair=repair, older_than=older_than, thorough=thorough)
    return [finding async for finding in check]


@pytest.mark.usefixtures("any_age")
async def test_orphans_are_aborted_and_what_a_client_may_continue_is_not(
    make_driver: MakeDriver, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "PAGE", 2)
    driver = make_driver()
    for number in range(5):
        await orphan(driver, f"/blobs/{number}/data")
    # One that is being written, one that is closed, and an orphan beside the latter.
    live = await driver.writer("/uploads/live/data")
    await live.write(b"x" * (11 * MIB))
    async with await driver.writer("/uploads/closed/data") as closed:
        await closed.write(b"x" * (6 * MIB))
    await orphan(driver, "/uploads/closed/data")

    found = await findings(driver, repair=False)
    assert await findings(driver, repair=False, thorough=False) == found
    assert {finding.kind for finding in found} == {"orphaned multipart upload"}
    assert {finding.subject for finding in found} == {
        "/uploads/closed/data",
        *(f"/blobs/{number}/data" for number in range(5)),
    }
    assert len(uploads()) == 8
    assert len(await findings(driver, thorough=False)) == 6
    assert sorted(uploads()) == ["uploads/closed/data", "uploads/live/data"]
    assert await findings(driver) == []

    await live.commit()
    await live.close()
    async with await driver.writer("/uploads/closed/data", append=True) as closed:
        await closed.write(b"y")
        await closed.commit()
    assert (await driver.stat("/uploads/closed/data")).size == 6 * MIB + 1


@pytest.mark.usefixtures("any_age")
async def test_younger_ones_are_left_alone(driver: S3Driver, uploads: Uploads) -> None:
    await orphan(driver, "/blobs/data")
    assert await findings(driver, older_than=300) == []
    assert uploads() == ["blobs/data"]


async def test_what_may_be_a_copy_under_way_is_never_taken_for_an_orphan(
    driver: S3Driver, uploads: Uploads
) -> None:
    await orphan(driver, "/blobs/data")
    assert await findings(driver) == []
    assert uploads() == ["blobs/data"]
