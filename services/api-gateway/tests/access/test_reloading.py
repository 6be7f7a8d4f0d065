"""Files that are read again when they change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog

from api_gateway.access.reloading import reloading
from moorage.config import ConfigurationError


class Reader:
    """Reads a file, and refuses what begins with a question mark."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[str] = []
        self.read = 0

    def load(self) -> str:
        self.read += 1
        text = self.path.read_text()
        if text.startswith("?"):
            raise ConfigurationError("auth.x", "not good")
        return text

    async def until(self, *texts: str) -> None:
        async with asyncio.timeout(10):
            while self.taken != list(texts):
                await asyncio.sleep(0.005)

    async def until_read(self, times: int) -> None:
        async with asyncio.timeout(10):
            while self.read < times:
                await asyncio.sleep(0.005)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    path = tmp_path / "file"
    path.write_text("one")
    return Reader(path)


async def test_a_file_is_read_before_anything_and_when_it_changes(reader: Reader) -> None:
    async with reloading([str(reader.path)], reader.load, reader.taken.append, interval=0.005):
        assert reader.taken == ["one"]
        reader.path.write_text("two, longer")
        await reader.until("one", "two, longer")
        # The same size, and another file in its place.
        other = reader.path.with_name("other")
        other.write_text("TWO, LONGER")
        other.rename(reader.path)
        await reader.until("one", "two, longer", "TWO, LONGER")


async def test_a_bad_file_is_told_of_once_and_what_it_held_stays(reader: Reader) -> None:
    with structlog.testing.capture_logs() as lines:
        async with reloading([str(reader.path)], reader.load, reader.taken.append, interval=0.005):
            reader.path.write_text("?")
            await reader.until_read(4)
            assert reader.taken == ["one"]
            reader.path.write_text("good again")
            await reader.until("one", "good again")
    assert [line["reason"] for line in lines if line["log_level"] == "error"] == ["auth.x: not good"]


async def test_a_file_that_is_not_there_at_first_is_an_error(reader: Reader) -> None:
    reader.path.write_text("?")
    with pytest.raises(ConfigurationError):
        async with reloading([str(reader.path)], reader.load, reader.taken.append):
            raise AssertionError("opened")
    assert reader.taken == []
