"""The filesystem driver works in its own threads, a chunk ahead, and lets go of what it opened."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from blob_service.drivers.interface import (
    CHUNK_SIZE,
    DriverError,
    StorageDriver,
)


class SystemCall(Protocol):
    """See conftest.py."""

    name: str
    subject: str
    thread: threading.Thread


async def test_no_file_is_touched_on_the_event_loops_thread(
    filesystem: StorageDriver, system_calls: list[SystemCall]
) -> None:
    await filesystem.put_content("/a/link", b"x" * (3 * CHUNK_SIZE))
    await filesystem.get_content("/a/link")
    async with await filesystem.reader("/a/link") as reader:
        await anext(reader)
    async with await filesystem.writer("/b/data") as writer:
        await writer.write(b"x")
        await writer.flush()
        await writer.commit()
    await (await filesystem.writer("/c/data")).cancel()
    await filesystem.stat("/a")
    await filesystem.list("/", having="link")
    assert [info.path async for info in filesystem.walk("/")]
    await filesystem.move("/a/link", "/d/link")
    await filesystem.delete("/d")
    assert {call.name for call in system_calls} >= {
        "open",
        "pread",
        "pwrite",
        "rename",
        "rmdir",
        "scandir",
    }
    on_loop = [call for call in system_calls if call.thread is threading.current_thread()]
    assert on_loop == []


async def test_a_reader_is_one_chunk_ahead_and_no_more(
    filesystem: StorageDriver, system_calls: list[SystemCall], open_files: Callable[[], list[str]]
) -> None:
    await filesystem.put_content("/file", bytes(6 * CHUNK_SIZE))

    def chunks_read() -> int:
        return sum(call.name == "pread" for call in system_calls)

    async with await filesystem.reader("/file") as reader:
        for taken in range(1, 4):
            await anext(reader)
            await asyncio.sleep(0.05)
            assert chunks_read() == taken + 1
        assert len(open_files()) == 1
    assert open_files() == []


async def test_a_reader_closes_its_file_when_it_comes_to_the_end(
    filesystem: StorageDriver, open_files: Callable[[], list[str]]
) -> None:
    await filesystem.put_content("/file", b"content")
    reader = await filesystem.reader("/file")
    assert [chunk async for chunk in reader] == [b"content"]
    assert open_files() == []


async def test_a_file_that_is_cut_short_is_not_read_as_if_it_were_whole(
    filesystem: StorageDriver, root: Path, open_files: Callable[[], list[str]]
) -> None:
    await filesystem.put_content("/file", bytes(4 * CHUNK_SIZE))
    reader = await filesystem.reader("/file")
    await anext(reader)
    os.truncate(root / "file", 3 * CHUNK_SIZE + 5)
    assert len(await anext(reader)) == len(await anext(reader)) == CHUNK_SIZE
    with pytest.raises(DriverError, match="filesystem: /file was cut short"):
        await anext(reader)
    assert open_files() == []


async def test_a_reader_or_writer_that_nobody_closes_says_so(
    filesystem: StorageDriver, open_files: Callable[[], list[str]]
) -> None:
    await filesystem.put_content("/file", b"content")
    forgotten = [await filesystem.reader("/file"), await filesystem.writer("/data")]
    assert len(open_files()) == 2
    for what in ("writer", "reader"):
        with pytest.warns(ResourceWarning, match=f"the {what} of /"):
            forgotten.pop()
    assert open_files() == []


async def test_a_closed_driver_refuses_calls(root: Path, filesystem: StorageDriver) -> None:
    await filesystem.close()
    with pytest.raises(DriverError, match="filesystem: the driver is closed"):
        await filesystem.stat("/")
