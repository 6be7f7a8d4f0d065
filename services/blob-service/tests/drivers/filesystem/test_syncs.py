"""What has to be on disk before a call returns, read off the system calls that it makes."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Protocol

import pytest

from blob_service.drivers.interface import (
    DriverError,
    StorageDriver,
)


class SystemCall(Protocol):
    """See conftest.py."""

    name: str
    subject: str
    thread: threading.Thread


def synced(system_calls: list[SystemCall]) -> list[tuple[str, str]]:
    names = {"fsync": "sync", "fdatasync": "sync", "rename": "rename", "mkdir": "mkdir"}
    return [(names[call.name], call.subject) for call in system_calls if call.name in names]


async def test_a_put_syncs_the_file_then_renames_then_syncs_the_folder(
    filesystem: StorageDriver, system_calls: list[SystemCall]
) -> None:
    await filesystem.put_content("/a/b/link", b"x")
    steps = synced(system_calls)
    temporary = next(subject for _, subject in steps if subject.endswith(".tmp"))
    assert temporary.startswith("/a/b/link.")
    assert steps == [
        ("mkdir", "/a"),
        ("mkdir", "/a/b"),
        ("sync", temporary),
        ("rename", "/a/b/link"),
        ("sync", "/a/b"),
        ("sync", "/a"),
        ("sync", "/"),
    ]


async def test_a_flush_syncs_the_file_and_its_name(
    filesystem: StorageDriver, system_calls: list[SystemCall]
) -> None:
    async with await filesystem.writer("/a/data") as writer:
        await writer.write(b"x")
        assert synced(system_calls) == [("mkdir", "/a"), ("sync", "/")]
        await writer.flush()
        assert synced(system_calls)[2:] == [("sync", "/a/data"), ("sync", "/a")]
        await writer.write(b"y")
        await writer.commit()
        assert synced(system_calls)[4:] == [("sync", "/a/data")]


async def test_closing_a_stream_syncs_what_was_written(
    filesystem: StorageDriver, system_calls: list[SystemCall]
) -> None:
    writer = await filesystem.writer("/data")
    await writer.write(b"x")
    await writer.close()
    assert synced(system_calls) == [("sync", "/data"), ("sync", "/")]


async def test_a_move_syncs_both_folders(filesystem: StorageDriver, system_calls: list[SystemCall]) -> None:
    await filesystem.put_content("/old/file", b"x")
    system_calls.clear()
    await filesystem.move("/old/file", "/new/file")
    assert synced(system_calls) == [
        ("mkdir", "/new"),
        ("rename", "/new/file"),
        ("sync", "/new"),
        ("sync", "/old"),
        ("sync", "/"),
    ]


async def test_a_delete_syncs_the_folder_above(
    filesystem: StorageDriver, system_calls: list[SystemCall]
) -> None:
    await filesystem.put_content("/a/folder/file", b"x")
    system_calls.clear()
    await filesystem.delete("/a/folder")
    assert synced(system_calls) == [("sync", "/a")]


async def test_a_file_in_a_folder_that_another_call_just_made_waits_for_that_folder(
    filesystem: StorageDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first put has made the folder and hangs in its sync: the second must sync it as well."""
    hanging, released = threading.Event(), threading.Event()
    synced_by_second = threading.Event()
    sync = os.fsync
    first_sync = threading.Lock()

    def slow_sync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(root):
            if first_sync.acquire(blocking=False):
                hanging.set()
                released.wait(10)
            else:
                synced_by_second.set()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow_sync)
    first = asyncio.create_task(filesystem.put_content("/a/first", b"1"))
    assert await asyncio.to_thread(hanging.wait, 10)
    await filesystem.put_content("/a/second", b"2")
    assert synced_by_second.is_set()
    released.set()
    await first


async def test_a_stream_whose_sync_failed_is_never_called_durable(
    filesystem: StorageDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fdatasync
    failures = [OSError(5, "Input/output error")]

    def failing_sync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", failing_sync)
    writer = await filesystem.writer("/data")
    await writer.write(b"x")
    for call in (writer.flush, writer.flush, lambda: writer.write(b"y"), writer.commit, writer.close):
        with pytest.raises(DriverError, match="Input/output error"):
            await call()
    await writer.close()
    async with await filesystem.writer("/data", append=True) as again:
        await again.cancel()
