"""What is written for an upload is not made to survive a loss of power, and what is above it is."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from blob_service.drivers.errors import DriverError
from blob_service.drivers.filesystem import openat2
from blob_service.drivers.interface import StorageDriver

UPLOAD = "/repositories/a/_uploads/1"
SYNCS = ("fsync", "fdatasync")


@pytest.fixture
def syncs(system_calls) -> Iterator[list[str]]:
    """Says what was synced since it was asked last."""

    def taken() -> list[str]:
        found = [call.subject for call in system_calls if call.name in SYNCS]
        system_calls.clear()
        return found

    return taken


async def test_only_the_folders_above_a_transient_one_are_made_durable(
    filesystem: StorageDriver, syncs
) -> None:
    await filesystem.transient.put_content(f"{UPLOAD}/startedat", b"now")

    assert syncs() == ["/repositories/a", "/repositories", "/"]
    await filesystem.transient.put_content("/repositories/a/_uploads/2/startedat", b"now")
    assert syncs() == []


async def test_a_transient_file_s_content_is_synced_when_that_is_asked_for_and_its_name_is_not(
    filesystem: StorageDriver, syncs
) -> None:
    async with await filesystem.transient.writer(f"{UPLOAD}/data") as writer:
        syncs()
        await writer.flush()
        assert syncs() == []
        await writer.write(b"con")
        await writer.flush()
        assert syncs() == [f"{UPLOAD}/data"]
        await writer.write(b"tent")
    assert syncs() == []
    async with await filesystem.transient.writer(f"{UPLOAD}/data", append=True) as writer:
        await writer.commit()
    assert syncs() == [f"{UPLOAD}/data"]


async def test_what_stood_in_a_transient_file_that_begins_anew_never_comes_back(
    filesystem: StorageDriver, syncs
) -> None:
    async with await filesystem.transient.writer(f"{UPLOAD}/data") as writer:
        await writer.write(b"content")
    syncs()
    async with await filesystem.transient.writer(f"{UPLOAD}/data") as writer:
        assert writer.size == 0
    assert syncs() == [f"{UPLOAD}/data"]


async def test_a_transient_file_is_durable_once_it_was_moved(filesystem: StorageDriver, syncs) -> None:
    async with await filesystem.transient.writer(f"{UPLOAD}/data") as writer:
        await writer.write(b"content")
        await writer.commit()
    syncs()

    await filesystem.transient.move(f"{UPLOAD}/data", "/blobs/1/data")

    assert syncs() == ["/blobs/1", "/blobs", "/"]


async def test_a_transient_folder_is_removed_without_a_sync(filesystem: StorageDriver, syncs) -> None:
    await filesystem.transient.put_content(f"{UPLOAD}/startedat", b"now")
    syncs()

    await filesystem.transient.delete(UPLOAD)

    assert syncs() == []
    assert await filesystem.list("/repositories/a/_uploads") == []


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
async def test_where_the_kernel_lacks_openat2_every_folder_is_opened_by_itself(
    filesystem: StorageDriver, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    asked = 0

    def refused(*_: object) -> int:
        nonlocal asked
        asked += 1
        openat2.ctypes.set_errno(error)
        return -1

    monkeypatch.setattr(openat2, "_syscall", refused)
    await filesystem.put_content("/a/b/c/file", b"content")
    assert await filesystem.get_content("/a/b/c/file") == b"content"
    assert asked == 1


async def test_a_link_is_refused_in_one_step_as_in_several(
    filesystem: StorageDriver, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside/b").mkdir(parents=True)
    (tmp_path / "outside/b/file").write_text("secret")
    root.mkdir(exist_ok=True)
    (root / "a").symlink_to(tmp_path / "outside")

    with pytest.raises(DriverError, match="symbolic link"):
        await filesystem.get_content("/a/b/file")
    with pytest.raises(DriverError, match="symbolic link"):
        await filesystem.put_content("/a/b/file", b"content")
    assert (tmp_path / "outside/b/file").read_text() == "secret"
