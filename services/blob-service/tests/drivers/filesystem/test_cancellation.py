"""A task may be cancelled at any time: nothing leaks, and a writer's size is what the file holds."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from blob_service.drivers import filesystem as filesystem_driver
from blob_service.drivers.interface import CHUNK_SIZE, PathNotFoundError, StorageDriver

MIB = 1 << 20


class Gate:
    """Holds a system call of the driver's threads until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def hold(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def held(*args: Any, **options: Any) -> Any:
            self._reached.set()
            assert self._opened.wait(10)
            return call(*args, **options)

        return held

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)

    def open(self) -> None:
        self._opened.set()


async def cancel_within(call: Coroutine[Any, Any, Any], gate: Gate, *, again: int = 0) -> None:
    """Cancel a call that is held at the gate, and open the gate afterwards."""
    task = asyncio.create_task(call)
    await gate.reached()
    for _ in range(1 + again):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done(), "the call was left while it was still going on"
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("again", [0, 2])
async def test_a_cancelled_write_is_in_the_file_as_far_as_size_says(
    filesystem: StorageDriver, root: Path, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    writer = await filesystem.writer("/data")
    await writer.write(b"before ")
    gate = Gate()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", gate.hold(os.pwrite))
        await cancel_within(writer.write(b"cancelled"), gate, again=again)
    assert writer.size == os.path.getsize(root / "data") == len(b"before cancelled")
    await writer.write(b" after")
    await writer.commit()
    await writer.close()
    assert await filesystem.get_content("/data") == b"before cancelled after"


async def test_a_write_that_is_cancelled_before_its_turn_does_not_happen(
    filesystem: StorageDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await filesystem.writer("/data") as writer:
        gate = Gate()
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", gate.hold(os.pwrite))
            first = asyncio.create_task(writer.write(b"first"))
            await gate.reached()
            second = asyncio.create_task(writer.write(b"second"))
            await asyncio.sleep(0.01)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            gate.open()
            await first
        assert writer.size == 5
        await writer.commit()
    assert await filesystem.get_content("/data") == b"first"


async def test_writes_cancelled_at_random_leave_what_size_says(filesystem: StorageDriver, root: Path) -> None:
    content = random.Random(0).randbytes(32 * MIB)
    writer = await filesystem.writer("/data")
    for _ in range(20):
        task = asyncio.create_task(writer.write(memoryview(content)[writer.size :][: 8 * MIB]))
        await asyncio.sleep(random.uniform(0, 0.004))
        task.cancel()
        await asyncio.wait([task])
        assert writer.size == os.path.getsize(root / "data")
    await writer.commit()
    await writer.close()
    stored = await filesystem.get_content("/data")
    assert stored == content[: len(stored)]


async def test_a_cancelled_close_has_closed_and_synced(
    filesystem: StorageDriver, monkeypatch: pytest.MonkeyPatch, open_files: Callable[[], list[str]]
) -> None:
    writer = await filesystem.writer("/data")
    await writer.write(b"content")
    gate = Gate()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", gate.hold(os.fdatasync))
        await cancel_within(writer.close(), gate)
    assert open_files() == []
    async with await filesystem.writer("/data", append=True) as again:
        assert again.size == 7


async def test_a_file_opened_for_a_caller_that_is_gone_is_closed_again(
    filesystem: StorageDriver, monkeypatch: pytest.MonkeyPatch, open_files: Callable[[], list[str]]
) -> None:
    await filesystem.put_content("/file", b"content")
    for call in (filesystem.reader("/file"), filesystem.writer("/data")):
        gate = Gate()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fstat", gate.hold(os.fstat))
            await cancel_within(call, gate)
        assert open_files() == []
    await (await filesystem.writer("/data")).cancel()


async def test_a_cancelled_read_closes_the_file(
    filesystem: StorageDriver, monkeypatch: pytest.MonkeyPatch, open_files: Callable[[], list[str]]
) -> None:
    await filesystem.put_content("/file", bytes(3 * CHUNK_SIZE))
    reader = await filesystem.reader("/file")
    gate = Gate()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", gate.hold(os.pread))
        await cancel_within(anext(reader), gate)
    assert open_files() == []
    assert [chunk async for chunk in reader] == []


async def test_a_consumer_cancelled_between_chunks_closes_the_file(
    filesystem: StorageDriver, open_files: Callable[[], list[str]]
) -> None:
    await filesystem.put_content("/file", bytes(3 * CHUNK_SIZE))

    async def consume() -> None:
        async with await filesystem.reader("/file") as reader:
            async for _ in reader:
                await asyncio.Event().wait()

    task = asyncio.create_task(consume())
    while not open_files():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_files() == []


async def test_a_cancelled_put_is_whole_or_absent(
    filesystem: StorageDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", gate.hold(os.pwrite))
        await cancel_within(filesystem.put_content("/a/link", b"content"), gate)
    assert os.listdir(root / "a") == ["link"]
    assert await filesystem.get_content("/a/link") == b"content"


async def test_a_call_that_waits_for_a_thread_can_be_cancelled_without_a_trace(tmp_path: Path) -> None:
    driver = filesystem_driver.FilesystemDriver(str(tmp_path), threads=1)
    released = threading.Event()
    busy = asyncio.create_task(driver._pool.run(lambda: released.wait(10)))
    await asyncio.sleep(0.01)
    task = asyncio.create_task(driver.put_content("/link", b"content"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    released.set()
    await busy
    with pytest.raises(PathNotFoundError):
        await driver.get_content("/link")
    await driver.close()
