"""Making the driver that the configuration names."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from blob_service.drivers import factory
from blob_service.drivers.interface import StorageDriver
from moorage.config.errors import ConfigurationError


async def test_each_driver_is_made_by_its_name(request: pytest.FixtureRequest, driver: StorageDriver) -> None:
    assert driver.name == request.node.callspec.params["backend"]


def test_the_suite_runs_against_every_driver(suite_drivers: set[str]) -> None:
    assert suite_drivers == set(factory.DRIVERS)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        factory.create("floppy", {})
    known = ", ".join(factory.DRIVERS)
    assert str(caught.value) == f"storage: unknown driver 'floppy'; known are {known}"


async def test_the_root_is_made_with_the_folders_above_it(tmp_path: Path) -> None:
    root = tmp_path / "var/lib/registry"
    driver = factory.create("filesystem", {"rootdirectory": str(root)})
    assert stat.S_IMODE(root.stat().st_mode) == 0o750
    await driver.close()


async def test_the_root_may_be_reached_through_links(tmp_path: Path) -> None:
    (tmp_path / "disk/registry").mkdir(parents=True)
    (tmp_path / "folder").symlink_to(tmp_path / "disk")
    (tmp_path / "root").symlink_to(tmp_path / "folder/registry")
    driver = factory.create("filesystem", {"rootdirectory": str(tmp_path / "root")})
    await driver.put_content("/a/link", b"content")
    assert (tmp_path / "disk/registry/a/link").read_bytes() == b"content"
    assert await driver.list("/") == ["/a"]
    await driver.close()


async def test_a_root_that_is_there_keeps_its_mode_and_content(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    (root / "file").write_bytes(b"content")
    driver = factory.create("filesystem", {"rootdirectory": str(root)})
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert await driver.get_content("/file") == b"content"
    await driver.close()


@pytest.mark.parametrize(
    ("place", "problem"),
    [("file", "Not a directory"), ("file/below", "Not a directory"), ("dangling", "No such file")],
)
def test_a_root_that_cannot_be_one_is_a_configuration_error_that_names_the_key(
    tmp_path: Path, place: str, problem: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError) as caught:
        factory.create("filesystem", {"rootdirectory": str(tmp_path / place)})
    assert caught.value.key == "storage.filesystem.rootdirectory"
    assert problem in caught.value.message
    assert "\n" not in str(caught.value)
