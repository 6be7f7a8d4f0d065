"""Uploads that go on in another process, and what of them is in the bucket meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from blob_service.drivers.errors import DriverError, PathNotFoundError, WriterBusyError
from blob_service.drivers.s3 import multipart
from blob_service.drivers.s3.driver import S3Driver

MIB = 1 << 20
PATH = "/uploads/1/data"
CONTENT = random.Random(7).randbytes(23 * MIB + 4321)

MakeDriver = Callable[..., S3Driver]
Objects = Callable[[], dict[str, int]]
Uploads = Callable[[], list[str]]
WatchRequests = Callable[[S3Driver], Awaitable[Any]]


async def append(driver: S3Driver, content: bytes, *, new: bool = False) -> int:
    async with await driver.writer(PATH, append=not new) as writer:
        await writer.write(content)
    return writer.size


@pytest.mark.parametrize("pieces", [[1, 2 * MIB, 5 * MIB, 5 * MIB + 1, 11 * MIB], [4 * MIB] * 5, [10 * MIB]])
async def test_another_instance_goes_on_wherever_the_first_one_stopped(
    make_driver: MakeDriver, objects: Objects, uploads: Uploads, pieces: list[int]
) -> None:
    await append(make_driver(), b"", new=True)
    done = 0
    for piece in pieces:
        assert (await make_driver().stat(PATH)).size == done
        done = await append(make_driver(), CONTENT[done : done + piece])
    last = make_driver()
    async with await last.writer(PATH, append=True) as writer:
        assert writer.size == sum(pieces)
        await writer.write(CONTENT[done:])
        await writer.commit()
    assert await last.get_content(PATH) == CONTENT
    assert objects() == {"uploads/1/data": len(CONTENT)}
    assert uploads() == []


async def test_the_chunk_size_may_be_changed_while_uploads_are_under_way(make_driver: MakeDriver) -> None:
    await append(make_driver(chunksize=5 * MIB), CONTENT[: 7 * MIB], new=True)
    await append(make_driver(chunksize=9 * MIB), CONTENT[7 * MIB : 19 * MIB])
    last = make_driver(chunksize=6 * MIB)
    async with await last.writer(PATH, append=True) as writer:
        await writer.write(CONTENT[19 * MIB :])
        await writer.commit()
    assert await last.get_content(PATH) == CONTENT


async def test_small_ends_of_appends_are_kept_aside_and_are_no_parts(
    make_driver: MakeDriver, objects: Objects, uploads: Uploads
) -> None:
    await append(make_driver(), CONTENT[: 6 * MIB], new=True)
    assert uploads() == ["uploads/1/data"]
    (record,) = objects().items()
    assert record[0] == "uploads/1/data/~upload"
    assert MIB < record[1] < MIB + 1024


async def test_parts_are_found_however_many_pages_they_fill(
    make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch, requests_of: WatchRequests
) -> None:
    await append(make_driver(), CONTENT[: 21 * MIB], new=True)
    monkeypatch.setattr(multipart, "PAGE", 2)
    driver = make_driver()
    requests = await requests_of(driver)
    async with await driver.writer(PATH, append=True) as writer:
        assert writer.size == 21 * MIB
        await writer.write(CONTENT[21 * MIB :])
        await writer.commit()
    # Four parts, two on a page: the page that is full may be the last one.
    assert requests.names().count("ListParts") in {2, 3}
    assert await driver.get_content(PATH) == CONTENT


async def test_more_than_a_thousand_parts_are_found(driver: S3Driver) -> None:
    # The endpoint asks for 5 MiB only when the parts are put together, so small ones show the paging.
    upload = await multipart.MultipartUpload.begin(driver._bucket, driver._bucket.keys.of(PATH))
    pieces = {number: b"%d" % number for number in range(1, 1102)}
    limit = asyncio.Semaphore(16)

    async def put(number: int) -> tuple[int, multipart.Part]:
        async with limit:
            return number, await upload.put(number, pieces[number])

    made = dict(await asyncio.gather(*map(put, pieces)))
    assert await upload.parts() == made
    await upload.abort()


async def test_of_two_processes_that_go_on_from_the_same_place_one_wins(make_driver: MakeDriver) -> None:
    first, second = make_driver(), make_driver()
    await append(first, CONTENT[: 6 * MIB], new=True)
    one, other = await first.writer(PATH, append=True), await second.writer(PATH, append=True)
    await one.write(b"a" * MIB)
    await other.write(b"b" * MIB)
    await one.close()
    with pytest.raises(WriterBusyError):
        await other.close()
    async with await second.writer(PATH, append=True) as writer:
        assert writer.size == 7 * MIB
        await writer.commit()
    assert await second.get_content(PATH) == CONTENT[: 6 * MIB] + b"a" * MIB


async def test_what_a_process_wrote_that_lost_is_never_committed(make_driver: MakeDriver) -> None:
    first, second = make_driver(), make_driver()
    await append(first, b"", new=True)
    loser = await first.writer(PATH, append=True)
    await loser.write(b"a" * (11 * MIB))
    async with await second.writer(PATH, append=True) as winner:
        assert winner.size == 0 or winner.size % (5 * MIB) == 0
        await winner.write(b"b")
        await winner.flush()
    for ending in (loser.flush, loser.commit):
        with pytest.raises(WriterBusyError):
            await ending()
    with pytest.raises(WriterBusyError):
        await loser.close()
    async with await second.writer(PATH, append=True) as writer:
        assert writer.size == 1
        await writer.commit()
    assert await second.get_content(PATH) == b"b"


async def test_who_goes_on_after_another_process_took_over_is_told_that_it_is_busy(
    make_driver: MakeDriver,
) -> None:
    first, second = make_driver(), make_driver()
    await append(first, b"", new=True)
    loser = await first.writer(PATH, append=True)
    await loser.write(b"a" * (6 * MIB))
    async with await second.writer(PATH, append=True) as winner:
        await winner.write(b"b")
        await winner.flush()
        # The multipart upload, to which this part belongs, is gone.
        await loser.write(b"a" * (6 * MIB))
        with pytest.raises(WriterBusyError):
            await loser.flush()
    with pytest.raises(WriterBusyError):
        await loser.close()


async def test_of_two_commits_one_publishes(make_driver: MakeDriver) -> None:
    drivers = [make_driver(), make_driver()]
    await append(drivers[0], CONTENT[: 6 * MIB], new=True)
    writers = [await driver.writer(PATH, append=True) for driver in drivers]
    await asyncio.gather(*(writer.commit() for writer in writers[:1]))
    with pytest.raises((PathNotFoundError, WriterBusyError)):
        await writers[1].commit()
    await writers[0].close()
    with pytest.raises((PathNotFoundError, WriterBusyError)):
        await writers[1].close()
    assert await drivers[1].get_content(PATH) == CONTENT[: 6 * MIB]


async def test_bytes_that_another_process_deleted_are_not_acknowledged(make_driver: MakeDriver) -> None:
    first, second = make_driver(), make_driver()
    for size in (MIB, 11 * MIB):
        for ending in ("commit", "flush", "close"):
            writer = await first.writer(PATH)
            await writer.write(CONTENT[:size])
            await writer.flush()
            await second.delete("/uploads")
            await writer.write(b"more")
            with pytest.raises(PathNotFoundError):
                await getattr(writer, ending)()
            if ending != "close":
                with pytest.raises(PathNotFoundError):
                    await writer.close()
            with pytest.raises(PathNotFoundError):
                await second.stat(PATH)


async def test_a_part_that_was_written_over_behind_the_record_is_found_out(make_driver: MakeDriver) -> None:
    driver = make_driver()
    await append(driver, CONTENT[: 6 * MIB], new=True)
    record = await multipart_of(driver)
    await record.put(1, b"x" * (5 * MIB))
    with pytest.raises(DriverError, match="not those that are on record"):
        await driver.writer(PATH, append=True)


async def multipart_of(driver: S3Driver) -> multipart.MultipartUpload:
    async for upload in multipart.pending_uploads(driver._bucket, driver._bucket.keys.root):
        return multipart.MultipartUpload(driver._bucket, upload.key, upload.id)
    raise AssertionError("no upload is under way")


@pytest.mark.parametrize("more", [b"", b"x" * MIB, b"x" * (30 * MIB)], ids=["nothing", "little", "much"])
async def test_parts_that_a_crash_left_behind_are_not_in_what_is_committed(
    make_driver: MakeDriver, uploads: Uploads, more: bytes
) -> None:
    await append(make_driver(), CONTENT[: 11 * MIB], new=True)
    left = await multipart_of(make_driver())
    for number in (4, 5):
        await left.put(number, b"?" * (5 * MIB))
    last = make_driver(multipartcopychunksize=5 * MIB)
    async with await last.writer(PATH, append=True) as writer:
        assert writer.size == 11 * MIB
        await writer.write(more)
        await writer.commit()
    assert await last.get_content(PATH) == CONTENT[: 11 * MIB] + more
    assert uploads() == []


async def test_a_damaged_record_is_an_error_and_not_an_empty_upload(make_driver: MakeDriver) -> None:
    driver = make_driver()
    await driver._bucket.put(driver._bucket.keys.record(PATH), b"nonsense")
    for call in (driver.writer(PATH, append=True), driver.stat(PATH)):
        with pytest.raises(DriverError, match="is damaged"):
            await call


async def test_what_is_left_of_an_upload_goes_when_another_one_begins_there(
    make_driver: MakeDriver, uploads: Uploads, objects: Objects
) -> None:
    await append(make_driver(), CONTENT[: 6 * MIB], new=True)
    await append(make_driver(), b"", new=True)
    assert uploads() == []
    assert list(objects()) == ["uploads/1/data/~upload"]


async def test_a_file_is_not_replaced_before_the_commit(make_driver: MakeDriver) -> None:
    driver = make_driver()
    await driver.put_content(PATH, b"old")
    async with await driver.writer(PATH) as writer:
        await writer.write(CONTENT)
        await writer.flush()
        assert await driver.get_content(PATH) == b"old"
        await writer.commit()
    assert await driver.get_content(PATH) == CONTENT


@pytest.mark.parametrize("size", [3 * MIB, 13 * MIB], ids=["small", "in parts"])
async def test_a_file_that_another_process_replaced_meanwhile_is_not_replaced_once_more(
    make_driver: MakeDriver, size: int
) -> None:
    first, second = make_driver(), make_driver()
    writer = await first.writer(PATH)
    await writer.write(CONTENT[:size])
    await writer.flush()
    await second.put_content(PATH, b"of the other process")
    with pytest.raises(PathNotFoundError):
        await writer.commit()
    await writer.cancel()
    with pytest.raises(PathNotFoundError):
        await first.get_content(PATH)


async def test_a_long_stream_is_put_on_record_as_it_goes(
    make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blob_service.drivers.s3.writer._PARTS_BETWEEN_RECORDS", 2)
    writer = await make_driver().writer(PATH)
    for start in range(0, len(CONTENT), MIB):
        await writer.write(CONTENT[start : start + MIB])
        # Time for parts to be stored.
        await asyncio.sleep(0.05)
    # As if the process had died: nothing is flushed.
    async with await make_driver().writer(PATH, append=True) as other:
        assert other.size in {5 * MIB, 10 * MIB, 15 * MIB}
        await other.write(CONTENT[other.size :])
        await other.commit()
        assert other.size == len(CONTENT)
    assert await make_driver().get_content(PATH) == CONTENT
    with pytest.raises((PathNotFoundError, WriterBusyError)):
        await writer.close()


@pytest.mark.parametrize("size", [3 * MIB, 13 * MIB], ids=["small", "in parts"])
@pytest.mark.parametrize(
    "operation",
    ["PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload", "DeleteObjects"],
)
@pytest.mark.parametrize("when", ["lose_the_answer", "break_the_connection"])
async def test_a_request_that_broke_off_is_made_again(
    make_driver: MakeDriver, requests_of: WatchRequests, size: int, operation: str, when: str
) -> None:
    driver = make_driver()
    requests = await requests_of(driver)
    getattr(requests, when)(operation, times=1)
    async with await driver.writer(PATH) as writer:
        await writer.write(CONTENT[:size])
        await writer.flush()
    async with await driver.writer(PATH, append=True) as writer:
        getattr(requests, when)(operation, times=1)
        await writer.commit()
    assert await driver.get_content(PATH) == CONTENT[:size]


async def test_every_byte_is_sent_with_a_checksum(
    make_driver: MakeDriver, requests_of: WatchRequests
) -> None:
    driver = make_driver()
    requests = await requests_of(driver)
    async with await driver.writer(PATH) as writer:
        await writer.write(CONTENT)
        await writer.commit()
    await driver.put_content("/small", b"content")
    sent = [headers for name, headers in requests.made if name in {"PutObject", "UploadPart"}]
    assert len(sent) >= 6
    assert all("content-md5" in headers for headers in sent)


async def test_an_upload_that_was_purged_elsewhere_leaves_nothing(
    make_driver: MakeDriver, uploads: Uploads, objects: Objects
) -> None:
    await append(make_driver(), CONTENT, new=True)
    await make_driver().delete("/uploads/1")
    assert (uploads(), objects()) == ([], {})
