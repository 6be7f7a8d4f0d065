"""Streams into a driver."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import psutil
import pytest

from blob_service.drivers.interface import (
    PathNotFoundError,
    StorageDriver,
    WriterBusyError,
    WriterClosedError,
)

MIB = 1 << 20


class LargeStream(Protocol):
    """See the fixture `large_stream`."""

    size: int
    growth: int


async def write_stream(driver: StorageDriver, path: str, content: bytes) -> None:
    async with await driver.writer(path) as writer:
        for start in range(0, len(content), 32 * 1024):
            await writer.write(content[start : start + 32 * 1024])
        await writer.commit()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a",
        "ß".encode(),
        b"\x80\x80\x80\x80",
        random.Random(3).randbytes(32),
        random.Random(4).randbytes(MIB),
    ],
    ids=["empty", "one byte", "unicode", "not utf-8", "32 bytes", "1 MiB"],
)
async def test_what_was_streamed_in_is_read_back(
    driver: StorageDriver, place: str, content: bytes, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    await write_stream(driver, place, content)
    assert await read_all(place) == content
    assert await driver.get_content(place) == content


async def test_a_large_stream_passes_through_in_bounded_memory(
    driver: StorageDriver, place: str, large_stream: LargeStream
) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    growth = 0
    noise = os.urandom(MIB - 8)
    written = hashlib.sha256()
    async with await driver.writer(place) as writer:
        for start in range(0, large_stream.size, MIB):
            piece = (start.to_bytes(8, "big") + noise)[: large_stream.size - start]
            written.update(piece)
            assert await writer.write(piece) == len(piece)
            growth = max(growth, process.memory_info().rss - before)
        assert writer.size == large_stream.size
        await writer.commit()
    assert (await driver.stat(place)).size == large_stream.size

    found = hashlib.sha256()
    async with await driver.reader(place) as reader:
        async for chunk in reader:
            found.update(chunk)
            growth = max(growth, process.memory_info().rss - before)
    assert found.hexdigest() == written.hexdigest()
    assert growth < large_stream.growth


@pytest.mark.parametrize("piece", [32, 10 * MIB], ids=["small", "large"])
async def test_a_closed_stream_is_continued_where_it_ended(
    driver: StorageDriver, place: str, piece: int
) -> None:
    content = os.urandom(3 * piece)
    writer = await driver.writer(place)
    await writer.write(content[:piece])
    await writer.close()
    assert writer.size == piece

    writer = await driver.writer(place, append=True)
    assert writer.size == piece
    await writer.write(content[piece : 2 * piece])
    assert writer.size == 2 * piece
    await writer.close()
    assert writer.size == 2 * piece

    writer = await driver.writer(place, append=True)
    assert writer.size == 2 * piece
    await writer.write(content[2 * piece :])
    await writer.commit()
    await writer.close()
    assert await driver.get_content(place) == content


async def test_a_stream_of_no_bytes_is_an_empty_file_and_can_be_continued(
    driver: StorageDriver, place: str
) -> None:
    await write_stream(driver, place, b"")
    assert await driver.get_content(place) == b""
    async with await driver.writer(place, append=True) as writer:
        assert writer.size == 0
        await writer.write(b"later")
        await writer.commit()
    assert await driver.get_content(place) == b"later"


async def test_an_upload_that_was_closed_before_its_first_byte_can_be_continued(
    driver: StorageDriver, place: str
) -> None:
    await (await driver.writer(place)).close()
    async with await driver.writer(place, append=True) as writer:
        assert writer.size == 0
        await writer.write(b"later")
        await writer.commit()
    assert await driver.get_content(place) == b"later"


async def test_empty_content_can_be_appended_to(driver: StorageDriver, place: str) -> None:
    await driver.put_content(place, b"")
    async with await driver.writer(place, append=True) as writer:
        assert writer.size == 0
        await writer.write(b"later")
        await writer.commit()
    assert await driver.get_content(place) == b"later"


async def test_there_is_nothing_to_append_to_at_a_missing_path(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    with pytest.raises(PathNotFoundError) as caught:
        await driver.writer(f"{place}/upload/data", append=True)
    assert driver.name in str(caught.value)
    await check_missing(f"{place}/upload/data")


async def test_a_new_writer_starts_from_nothing(driver: StorageDriver, place: str) -> None:
    await write_stream(driver, place, b"long content")
    async with await driver.writer(place) as writer:
        assert writer.size == 0
        await writer.write(b"short")
        await writer.commit()
    assert await driver.get_content(place) == b"short"


async def test_a_cancelled_stream_is_gone(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    writer = await driver.writer(f"{place}/data")
    await writer.write(b"some bytes")
    await writer.flush()
    await writer.cancel()
    await writer.close()
    await check_missing(f"{place}/data")
    with pytest.raises(PathNotFoundError):
        await driver.writer(f"{place}/data", append=True)


async def test_a_continued_stream_can_be_cancelled(driver: StorageDriver, place: str) -> None:
    writer = await driver.writer(f"{place}/data")
    await writer.write(b"some bytes")
    await writer.close()
    await (await driver.writer(f"{place}/data", append=True)).cancel()
    with pytest.raises(PathNotFoundError):
        await driver.writer(f"{place}/data", append=True)


@pytest.mark.parametrize("ending", ["commit", "cancel", "close"])
async def test_a_writer_that_ended_refuses_everything_but_close(
    driver: StorageDriver, place: str, ending: str
) -> None:
    writer = await driver.writer(place)
    await writer.write(b"12345")
    await getattr(writer, ending)()
    for call in (writer.write(b"6"), writer.flush(), writer.commit(), writer.cancel()):
        with pytest.raises(WriterClosedError) as caught:
            await call
        assert driver.name in str(caught.value)
    await writer.close()
    await writer.close()
    assert writer.size == 5


async def test_one_writer_has_a_path_until_it_is_closed(driver: StorageDriver, place: str) -> None:
    first = await driver.writer(place)
    for committed in (False, True):
        if committed:
            await first.commit()
        for append in (False, True):
            with pytest.raises(WriterBusyError) as caught:
                await driver.writer(place, append=append)
            assert caught.value.path == place
    await first.close()
    await (await driver.writer(place)).cancel()


async def test_a_committed_file_can_be_moved_while_its_writer_has_the_path(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    async with await driver.writer(f"{place}/upload/data") as writer:
        await writer.write(b"content")
        await writer.commit()
        await driver.move(f"{place}/upload/data", f"{place}/blob/data")
    assert await driver.get_content(f"{place}/blob/data") == b"content"
    await check_missing(f"{place}/upload/data")
    with pytest.raises(PathNotFoundError):
        await driver.writer(f"{place}/upload/data", append=True)


async def test_bytes_that_were_deleted_are_not_acknowledged(
    driver: StorageDriver, place: str, check_missing: Callable[[str], Awaitable[None]]
) -> None:
    for ending in ("commit", "close"):
        writer = await driver.writer(f"{place}/data")
        await writer.write(b"content")
        await writer.flush()
        await driver.delete(f"{place}/data")
        with pytest.raises(PathNotFoundError):
            await getattr(writer, ending)()
        if ending == "commit":
            await writer.cancel()
        await check_missing(f"{place}/data")


async def test_any_contiguous_buffer_can_be_written(driver: StorageDriver, place: str) -> None:
    async with await driver.writer(place) as writer:
        assert await writer.write(b"ab") == 2
        assert await writer.write(bytearray(b"cd")) == 2
        assert await writer.write(memoryview(b"xxefxx")[2:4]) == 2
        assert await writer.write(b"") == 0
        await writer.commit()
    assert await driver.get_content(place) == b"abcdef"


async def test_writes_made_at_once_are_stored_one_after_the_other_in_order(
    driver: StorageDriver, place: str
) -> None:
    pieces = [bytes([number]) * 10_000 for number in range(20)]
    async with await driver.writer(place) as writer:
        await asyncio.gather(*(writer.write(piece) for piece in pieces))
        await writer.commit()
    assert await driver.get_content(place) == b"".join(pieces)


async def test_many_files_are_written_at_once(
    driver: StorageDriver, place: str, read_all: Callable[..., Awaitable[bytes]]
) -> None:
    async def write_and_read(number: int) -> None:
        path = f"{place}/{number}"
        content = random.Random(number).randbytes(MIB + number)
        await write_stream(driver, path, content)
        assert await read_all(path) == content

    await asyncio.gather(*(write_and_read(number) for number in range(32)))
