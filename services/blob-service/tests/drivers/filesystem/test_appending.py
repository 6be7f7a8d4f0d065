"""Large files are written past the page cache where that can be done, and are the same files."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from blob_service.drivers.filesystem.appending import Appending
from blob_service.drivers.interface import StorageDriver

MIB = 1 << 20


def in_pages(content: bytes) -> memoryview:
    """Content in memory that begins with a page, as the data channel has it."""
    pages = mmap.mmap(-1, len(content))
    pages[:] = content
    return memoryview(pages)


@pytest.fixture
def content() -> bytes:
    return random.Random(5).randbytes(3 * MIB + 777)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    yield path, descriptor
    os.close(descriptor)


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def cached_bytes(path: Path) -> int:
    """How much of a file the page cache holds: what of it can be read without waiting for the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Or else the kernel reads ahead what it is asked for.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        held, size = 0, os.fstat(descriptor).st_size
        for offset in range(0, size, mmap.PAGESIZE):
            try:
                held += os.preadv(descriptor, [bytearray(mmap.PAGESIZE)], offset, os.RWF_NOWAIT)
            except BlockingIOError:
                continue
        return held
    finally:
        os.close(descriptor)


def append(appending: Appending, view: memoryview, offset: int = 0) -> int:
    while view:
        count = appending.write(view, offset)
        offset += count
        view = view[count:]
    return offset


def test_a_file_is_the_same_however_its_parts_were_written(written, content) -> None:
    path, descriptor = written

    append(Appending(descriptor, direct=True), in_pages(content))

    assert path.read_bytes() == content


def test_a_large_block_is_not_in_the_page_cache(written, content) -> None:
    path, descriptor = written
    appending = Appending(descriptor, direct=True)

    append(appending, in_pages(content[: 3 * MIB]))

    assert is_direct(descriptor), f"no file system for this test: {path} cannot be opened with O_DIRECT"
    assert cached_bytes(path) == 0


def test_small_pieces_are_written_the_usual_way(written) -> None:
    path, descriptor = written

    append(Appending(descriptor, direct=True), in_pages(b"small"))

    assert not is_direct(descriptor)
    assert path.read_bytes() == b"small"


def test_a_file_that_ends_within_a_page_is_continued(written, content) -> None:
    path, descriptor = written
    appending = Appending(descriptor, direct=True)

    offset = append(appending, in_pages(content))
    append(appending, in_pages(content), offset)

    assert path.read_bytes() == 2 * content


def test_memory_that_the_disk_cannot_take_is_written_the_usual_way(written, content) -> None:
    path, descriptor = written
    appending = Appending(descriptor, direct=True)

    offset = append(appending, in_pages(b"x" + content)[1 : 1 + MIB])
    append(appending, in_pages(content), offset)

    assert path.read_bytes() == content[:MIB] + content


def test_the_page_cache_is_used_when_it_is_wished(written, content) -> None:
    path, descriptor = written

    append(Appending(descriptor, direct=False), in_pages(content[: 3 * MIB]))

    assert cached_bytes(path) == 3 * MIB


def test_a_file_system_without_direct_writes_is_written_the_usual_way(content) -> None:
    # A file in memory has no disk to be written past.
    descriptor = os.memfd_create("test")
    try:
        append(Appending(descriptor, direct=True), in_pages(content))
        assert os.pread(descriptor, 2 * len(content), 0) == content
    finally:
        os.close(descriptor)


async def test_a_pushed_file_is_read_back_while_it_is_still_written(
    filesystem: StorageDriver, content
) -> None:
    async with await filesystem.writer("/a/file") as writer:
        await writer.write(in_pages(content[: 2 * MIB]))
        await writer.write(in_pages(content[2 * MIB :]))
        async with await filesystem.reader("/a/file") as reader:
            assert b"".join([chunk async for chunk in reader]) == content
        await writer.commit()
    await filesystem.delete("/a")
