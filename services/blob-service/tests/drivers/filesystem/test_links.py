"""Symbolic links below the root lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blob_service.drivers.interface import (
    DriverError,
    FileInfo,
    StorageDriver,
)


@pytest.fixture
async def outside(filesystem: StorageDriver, root: Path, tmp_path: Path) -> Path:
    """A folder with a secret, to which `/link` leads, and `/folder/file` to the secret it"""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(outside)
    (root / "folder").mkdir()
    (root / "folder/file").symlink_to(outside / "secret")
    return outside


async def test_nothing_outside_of_the_root_can_be_read(filesystem: StorageDriver, outside: Path) -> None:
    calls = [
        filesystem.get_content("/link/secret"),
        filesystem.get_content("/folder/file"),
        filesystem.reader("/link/secret"),
        filesystem.stat("/link"),
        filesystem.stat("/link/secret"),
        filesystem.list("/link"),
        filesystem.list("/link/sub"),
        anext(filesystem.walk("/link")),
    ]
    for call in calls:
        with pytest.raises(DriverError, match="a symbolic link below rootdirectory is not followed"):
            await call


async def test_nothing_outside_of_the_root_can_be_written(filesystem: StorageDriver, outside: Path) -> None:
    await filesystem.put_content("/source", b"x")
    calls = [
        filesystem.put_content("/link/secret", b"x"),
        filesystem.put_content("/link/new/file", b"x"),
        filesystem.writer("/link/secret"),
        filesystem.writer("/folder/file"),
        filesystem.writer("/link/secret", append=True),
        filesystem.move("/source", "/link/secret"),
        filesystem.move("/link/secret", "/stolen"),
        filesystem.delete("/link/secret"),
        filesystem.delete("/link/sub"),
    ]
    for call in calls:
        with pytest.raises(DriverError, match="a symbolic link below rootdirectory is not followed"):
            await call
    assert sorted(os.listdir(outside)) == ["secret", "sub"]
    assert (outside / "secret").read_bytes() == b"secret"


async def test_a_link_does_not_make_a_child_have_something_below(
    filesystem: StorageDriver, outside: Path
) -> None:
    assert await filesystem.list("/", having="secret") == []


async def test_a_link_further_down_counts_in_a_listing_and_leads_nowhere_all_the_same(
    filesystem: StorageDriver, root: Path, outside: Path
) -> None:
    (root / "tag").mkdir()
    (root / "tag/current").symlink_to(outside)
    assert await filesystem.list("/", having="current/secret") == ["/tag"]
    with pytest.raises(DriverError, match="symbolic link"):
        await filesystem.get_content("/tag/current/secret")


async def test_a_walk_does_not_pass_over_a_link_in_silence(filesystem: StorageDriver, outside: Path) -> None:
    seen: list[FileInfo] = []

    async def walk() -> None:
        async for info in filesystem.walk("/"):
            seen.append(info)

    with pytest.raises(DriverError, match="symbolic link"):
        await walk()
    assert seen == []


async def test_deleting_a_link_or_its_folder_leaves_what_it_leads_to(
    filesystem: StorageDriver, root: Path, outside: Path
) -> None:
    (root / "folder/deep").symlink_to(outside)
    await filesystem.delete("/link")
    await filesystem.delete("/folder")
    assert os.listdir(root) == []
    assert (outside / "secret").read_bytes() == b"secret"


async def test_putting_over_a_link_replaces_the_link(filesystem: StorageDriver, outside: Path) -> None:
    await filesystem.put_content("/folder/file", b"new")
    assert await filesystem.get_content("/folder/file") == b"new"
    assert (outside / "secret").read_bytes() == b"secret"
