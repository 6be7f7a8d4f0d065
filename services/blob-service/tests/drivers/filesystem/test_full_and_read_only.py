"""A file system that is full, or that cannot be written to: real ones, mounted for the test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from blob_service.drivers import factory
from blob_service.drivers.interface import DriverError, NoSpaceError, StorageDriver
from moorage.config.errors import ConfigurationError

KIB = 1024


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs with the given options, or changes the options of the one that is mounted."""
    if os.geteuid() != 0:
        pytest.fail("This test mounts a small tmpfs, for which it must be root: run `sudo make test`.")
    folder = tmp_path / "mounted"
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        folder.mkdir(exist_ok=True)
        command = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"remount,{options}" if mounted else options,
            "tmpfs",
            folder,
        ]
        subprocess.run(command, check=True)
        mounted = True
        return folder

    yield mount
    if mounted:
        # It fails while something in it is open.
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
async def small(mount: Callable[[str], Path]) -> AsyncIterator[StorageDriver]:
    """A driver with 256 KiB of space and few inodes."""
    root = mount("size=256k,nr_inodes=40")
    driver = factory.create("filesystem", {"rootdirectory": str(root)})
    yield driver
    await driver.close()


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_put_that_does_not_fit_changes_nothing_and_fits_later(
    small: StorageDriver, tmp_path: Path
) -> None:
    await small.put_content("/repo/link", b"old")
    await small.put_content("/ballast", bytes(128 * KIB))
    for path in ("/repo/link", "/repo/new/link"):
        with pytest.raises(NoSpaceError) as caught:
            await small.put_content(path, bytes(200 * KIB))
        assert caught.value.path == path
        assert str(caught.value).startswith("filesystem: ")
    assert await small.get_content("/repo/link") == b"old"
    assert names_below(tmp_path / "mounted") == ["ballast", "repo/link"]
    await small.delete("/ballast")
    await small.put_content("/repo/link", bytes(200 * KIB))
    assert await small.get_content("/repo/link") == bytes(200 * KIB)


async def test_a_stream_that_does_not_fit_keeps_what_size_says_and_goes_on_later(
    small: StorageDriver, tmp_path: Path
) -> None:
    content = os.urandom(400 * KIB)
    await small.put_content("/ballast", bytes(200 * KIB))
    writer = await small.writer("/data")
    with pytest.raises(NoSpaceError):
        await writer.write(content[: 250 * KIB])
    assert 0 < writer.size < 250 * KIB
    assert writer.size == os.path.getsize(tmp_path / "mounted/data")
    await small.delete("/ballast")
    await writer.write(content[writer.size : 240 * KIB])
    await writer.commit()
    await writer.close()
    assert await small.get_content("/data") == content[: 240 * KIB]


async def test_a_stream_that_does_not_fit_can_be_cancelled(small: StorageDriver, tmp_path: Path) -> None:
    writer = await small.writer("/data")
    with pytest.raises(NoSpaceError):
        await writer.write(bytes(400 * KIB))
    await writer.cancel()
    assert names_below(tmp_path / "mounted") == []


async def test_running_out_of_inodes_is_running_out_of_space(small: StorageDriver) -> None:
    stored: list[str] = []

    async def put_until_full() -> None:
        for number in range(100):
            await small.put_content(f"/repo/{number}/link", b"x")
            stored.append(f"/repo/{number}/link")

    with pytest.raises(NoSpaceError):
        await put_until_full()
    assert stored
    assert sorted([info.path async for info in small.walk("/repo") if not info.is_dir]) == sorted(stored)
    with pytest.raises(NoSpaceError):
        await small.writer("/another/data")


async def test_a_read_only_file_system_serves_and_refuses_writes(mount: Callable[[str], Path]) -> None:
    root = mount("size=256k")
    driver = factory.create("filesystem", {"rootdirectory": str(root)})
    await driver.put_content("/a/link", b"content")
    mount("ro")
    assert await driver.get_content("/a/link") == b"content"
    assert await driver.list("/") == ["/a"]
    calls = [
        driver.put_content("/a/link", b"new"),
        driver.put_content("/b/link", b"new"),
        driver.writer("/a/data"),
        driver.writer("/a/link", append=True),
        driver.move("/a/link", "/a/other"),
        driver.delete("/a"),
    ]
    for call in calls:
        with pytest.raises(DriverError, match=r"filesystem: .*Read-only file system"):
            await call
    assert await driver.get_content("/a/link") == b"content"
    await driver.close()


async def test_a_root_that_cannot_be_made_is_a_configuration_error(mount: Callable[[str], Path]) -> None:
    root = mount("ro") / "registry"
    with pytest.raises(ConfigurationError) as caught:
        factory.create("filesystem", {"rootdirectory": str(root)})
    assert str(caught.value) == (
        f"storage.filesystem.rootdirectory: cannot use {root}: Read-only file system"
    )
