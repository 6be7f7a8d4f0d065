"""The filesystem driver's layout on disk, and what it makes of entries that are not its own."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path

import pytest

from blob_service.drivers.interface import (
    DriverError,
    InvalidPathError,
    PathNotFoundError,
    StorageDriver,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def plain_umask() -> object:
    before = os.umask(0o022)
    yield before
    os.umask(before)


async def test_a_driver_path_is_a_path_below_the_root(filesystem: StorageDriver, root: Path) -> None:
    await filesystem.put_content("/docker/registry/v2/link", b"content")
    assert (root / "docker/registry/v2/link").read_bytes() == b"content"
    (root / "docker/registry/v2/other").write_bytes(b"from elsewhere")
    assert await filesystem.get_content("/docker/registry/v2/other") == b"from elsewhere"


async def test_a_stream_is_at_its_path_from_its_first_byte(filesystem: StorageDriver, root: Path) -> None:
    async with await filesystem.writer("/_uploads/1/data") as writer:
        await writer.write(b"first")
        assert (root / "_uploads/1/data").read_bytes() == b"first"
        assert os.listdir(root / "_uploads/1") == ["data"]


async def test_a_stream_that_another_registry_left_is_continued(
    filesystem: StorageDriver, root: Path
) -> None:
    (root / "_uploads/1").mkdir(parents=True)
    (root / "_uploads/1/data").write_bytes(b"from elsewhere")
    async with await filesystem.writer("/_uploads/1/data", append=True) as writer:
        assert writer.size == 14
        await writer.write(b", continued")
        await writer.commit()
    assert await filesystem.get_content("/_uploads/1/data") == b"from elsewhere, continued"


async def test_the_modes_are_those_of_distribution_and_the_root_is_private(
    plain_umask: int, filesystem: StorageDriver, root: Path
) -> None:
    await filesystem.put_content("/a/put", b"x")
    async with await filesystem.writer("/b/stream") as writer:
        await writer.commit()
    assert mode(root) == 0o750
    assert mode(root / "a") == mode(root / "b") == 0o755
    assert mode(root / "a/put") == mode(root / "b/stream") == 0o644


async def test_a_put_leaves_one_file(filesystem: StorageDriver, root: Path) -> None:
    for _ in range(3):
        await filesystem.put_content("/a/link", b"x")
    assert os.listdir(root / "a") == ["link"]


async def test_the_longest_name_that_a_file_system_takes_can_be_put(filesystem: StorageDriver) -> None:
    path = "/a/" + "n" * 255
    await filesystem.put_content(path, b"x")
    assert await filesystem.list("/a") == [path]
    for call in (filesystem.put_content, filesystem.reader):
        with pytest.raises(InvalidPathError):
            await call(path + "n", *([b"x"] if call == filesystem.put_content else []))


async def test_a_root_that_vanished_is_made_again_by_the_next_write(
    filesystem: StorageDriver, root: Path
) -> None:
    root.rmdir()
    with pytest.raises(PathNotFoundError):
        await filesystem.get_content("/a")
    await filesystem.put_content("/a", b"x")
    assert mode(root) == 0o750
    assert await filesystem.list("/") == ["/a"]


@pytest.mark.parametrize("path", ["/file/below", "/file/deep/er/below"])
async def test_a_file_is_not_written_below_a_file(filesystem: StorageDriver, path: str) -> None:
    await filesystem.put_content("/file", b"x")
    await filesystem.put_content("/other", b"y")
    for call in (
        filesystem.put_content(path, b"x"),
        filesystem.writer(path),
        filesystem.move("/other", path),
    ):
        with pytest.raises(DriverError, match="a file is where a folder is needed"):
            await call
    assert await filesystem.get_content("/other") == b"y"


async def test_a_file_does_not_replace_a_folder(filesystem: StorageDriver, root: Path) -> None:
    await filesystem.put_content("/folder/file", b"x")
    await filesystem.put_content("/other", b"y")
    for call in (
        filesystem.put_content("/folder", b"x"),
        filesystem.writer("/folder"),
        filesystem.move("/other", "/folder"),
    ):
        with pytest.raises(DriverError, match="filesystem: "):
            await call
    assert sorted(os.listdir(root)) == ["folder", "other"]


async def test_files_that_a_crash_left_behind_are_not_shown(filesystem: StorageDriver, root: Path) -> None:
    await filesystem.put_content("/a/link", b"x")
    leftover = f"link.{uuid.uuid4()}.tmp"
    (root / "a" / leftover).write_bytes(b"half")
    (root / "a" / f"folder.{uuid.uuid4()}.tmp").mkdir()
    (root / "a" / "link.tmp").write_bytes(b"")
    folder = next(name for name in os.listdir(root / "a") if name.startswith("folder"))
    expected = [f"/a/{folder}", "/a/link", "/a/link.tmp"]
    assert await filesystem.list("/a") == expected
    assert [info.path async for info in filesystem.walk("/a")] == expected


async def test_files_that_a_crash_left_behind_go_with_their_folder(
    filesystem: StorageDriver, root: Path
) -> None:
    await filesystem.put_content("/a/b/link", b"x")
    (root / "a/b" / f"link.{uuid.uuid4()}.tmp").write_bytes(b"half")
    await filesystem.delete("/a")
    assert os.listdir(root) == []


async def test_a_file_cannot_have_a_name_that_no_listing_would_show(
    filesystem: StorageDriver, root: Path
) -> None:
    await filesystem.put_content("/source", b"x")
    path = f"/link.{uuid.uuid4()}.tmp"
    for call in (
        filesystem.put_content(path, b"x"),
        filesystem.writer(path),
        filesystem.move("/source", path),
    ):
        with pytest.raises(InvalidPathError):
            await call
    assert os.listdir(root) == ["source"]


async def test_names_that_no_path_can_have_are_not_shown(filesystem: StorageDriver, root: Path) -> None:
    for name in ("lost+found", "a b", "é", os.fsdecode(b"\xff"), "fine"):
        (root / name).mkdir()
    assert await filesystem.list("/") == ["/fine"]
    assert [info.path async for info in filesystem.walk("/")] == ["/fine"]


async def test_a_pipe_is_no_file_and_blocks_nobody(filesystem: StorageDriver, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(PathNotFoundError):
        await filesystem.get_content("/pipe")
    with pytest.raises(DriverError):
        await filesystem.writer("/pipe")
