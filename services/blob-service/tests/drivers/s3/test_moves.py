"""Moves, which S3 makes of a copy and a deletion."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import pytest

from blob_service.drivers.errors import DriverError, PathNotFoundError
from blob_service.drivers.s3.driver import S3Driver
from support.atonce import AtOnce

MIB = 1 << 20
CONTENT = random.Random(8).randbytes(17 * MIB + 99)

MakeDriver = Callable[..., S3Driver]
Objects = Callable[[], dict[str, int]]
Uploads = Callable[[], list[str]]
WatchRequests = Callable[[S3Driver], Awaitable[Any]]


async def stream(driver: S3Driver, path: str) -> None:
    async with await driver.writer(path) as writer:
        await writer.write(CONTENT)
        await writer.commit()


@pytest.mark.parametrize(("threshold", "copies"), [(18 * MIB, 0), (16 * MIB, 4)], ids=["whole", "in parts"])
async def test_what_is_larger_than_the_threshold_is_copied_in_parts(
    make_driver: MakeDriver, requests_of: WatchRequests, objects: Objects, threshold: int, copies: int
) -> None:
    driver = make_driver(multipartcopythresholdsize=threshold, multipartcopychunksize=5 * MIB)
    await stream(driver, "/uploads/data")
    await driver.put_content("/blobs/data", b"what was there")
    requests = await requests_of(driver)
    await driver.move("/uploads/data", "/blobs/data")
    assert requests.names().count("UploadPartCopy") == copies
    assert requests.names().count("CopyObject") == (0 if copies else 1)
    # The bytes stay in the backend.
    assert not {"GetObject", "PutObject", "UploadPart"} & set(requests.names())
    assert await driver.get_content("/blobs/data") == CONTENT
    assert objects() == {"blobs/data": len(CONTENT)}


async def test_no_more_parts_are_copied_at_once_than_is_allowed(
    make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = make_driver(
        multipartcopythresholdsize=0, multipartcopychunksize=5 * MIB, multipartcopymaxconcurrency=2
    )
    await stream(driver, "/data")
    at_once = AtOnce()
    make = driver._bucket.requests.make

    async def counted(operation: str, *args: Any, **options: Any) -> Any:
        with at_once if operation == "UploadPartCopy" else nullcontext():
            return await make(operation, *args, **options)

    monkeypatch.setattr(driver._bucket.requests, "make", counted)
    await driver.move("/data", "/moved")
    assert at_once.most == 2


async def test_a_copy_that_fails_leaves_both_places_as_they_were(
    make_driver: MakeDriver, requests_of: WatchRequests, uploads: Uploads
) -> None:
    driver = make_driver(multipartcopythresholdsize=0, multipartcopychunksize=5 * MIB)
    await stream(driver, "/data")
    await driver.put_content("/there", b"old")
    requests = await requests_of(driver)
    requests.break_the_connection("UploadPartCopy", times=100)
    with pytest.raises(DriverError, match="UploadPartCopy"):
        await driver.move("/data", "/there")
    assert await driver.get_content("/there") == b"old"
    assert await driver.get_content("/data") == CONTENT
    assert uploads() == []


@pytest.mark.parametrize("operation", ["CopyObject", "CompleteMultipartUpload", "DeleteObjects"])
async def test_a_move_whose_answer_was_lost_is_completed(
    make_driver: MakeDriver, requests_of: WatchRequests, operation: str
) -> None:
    threshold = 0 if operation == "CompleteMultipartUpload" else 32 * MIB
    driver = make_driver(multipartcopythresholdsize=threshold, multipartcopychunksize=5 * MIB)
    await stream(driver, "/data")
    requests = await requests_of(driver)
    requests.lose_the_answer(operation)
    await driver.move("/data", "/moved")
    assert await driver.get_content("/moved") == CONTENT
    with pytest.raises(PathNotFoundError):
        await driver.stat("/data")
