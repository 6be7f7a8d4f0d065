"""What only the in-memory driver does: it refuses what its tree cannot hold."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from blob_service.drivers import factory
from blob_service.drivers.interface import DriverError, StorageDriver


@pytest.fixture
async def inmemory() -> AsyncIterator[StorageDriver]:
    driver = factory.create("inmemory", {})
    yield driver
    await driver.close()


async def test_a_file_is_not_written_below_a_file(inmemory: StorageDriver) -> None:
    await inmemory.put_content("/file", b"x")
    await inmemory.put_content("/other", b"y")
    for call in (
        inmemory.put_content("/file/deep/below", b"x"),
        inmemory.writer("/file/below"),
        inmemory.move("/other", "/file/below"),
    ):
        with pytest.raises(DriverError, match=r"inmemory: .*a file is where a folder is needed"):
            await call
    assert await inmemory.get_content("/file") == b"x"
    assert await inmemory.get_content("/other") == b"y"


async def test_a_file_does_not_replace_a_folder(inmemory: StorageDriver) -> None:
    await inmemory.put_content("/folder/file", b"x")
    await inmemory.put_content("/other", b"y")
    for call in (
        inmemory.put_content("/folder", b"x"),
        inmemory.writer("/folder"),
        inmemory.move("/other", "/folder"),
    ):
        with pytest.raises(DriverError, match=r"inmemory: .*a folder is where a file is to be"):
            await call
    assert await inmemory.get_content("/folder/file") == b"x"
    assert await inmemory.get_content("/other") == b"y"


async def test_two_drivers_share_nothing(inmemory: StorageDriver) -> None:
    other = factory.create("inmemory", {})
    await inmemory.put_content("/file", b"x")
    assert await other.list("/") == []
    await other.close()
