"""Several processes on one pool, and processes that are killed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blob_service.drivers.interface import StorageDriver, WriterBusyError

PROGRAMS = Path(__file__).parent.parent / "programs"


async def run(program: str, *arguments: object) -> str:
    """What a program prints; the test fails with what it says if it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAMS / program,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return output.decode()


@asynccontextmanager
async def writer_elsewhere(
    parameters: dict[str, Any], path: str, content: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has flushed `content` to `path` and holds the writer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAMS / "hold_writer.py",
        "rados",
        json.dumps(parameters),
        path,
        content,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"flushed\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_only_one_process_at_a_time_writes_a_file_and_none_waits_for_a_dead_one(
    driver: StorageDriver, parameters: dict[str, Any]
) -> None:
    async with writer_elsewhere(parameters, "/_uploads/1/data", "from elsewhere") as process:
        for append in (True, False):
            with pytest.raises(WriterBusyError) as caught:
                await driver.writer("/_uploads/1/data", append=append)
            assert str(caught.value) == "rados: another writer holds /_uploads/1/data"
        assert await driver.get_content("/_uploads/1/data") == b"from elsewhere"
        async with await driver.writer("/_uploads/2/data") as other:
            await other.commit()
        process.kill()
        await process.wait()
        async with await driver.writer("/_uploads/1/data", append=True) as writer:
            assert writer.size == 14
            await writer.write(b", continued here")
            await writer.commit()
    assert await driver.get_content("/_uploads/1/data") == b"from elsewhere, continued here"


@pytest.mark.parametrize(
    ("scenario", "least_kills"),
    [("put", 9), ("put-new", 12), ("move", 40), ("append", 12), ("delete", 60)],
)
async def test_killed_at_any_change_it_leaves_whole_files_and_only_garbage(
    parameters: dict[str, Any], scenario: str, least_kills: int
) -> None:
    kills = int(await run("crash.py", "rados", json.dumps(parameters), scenario, "at-each-step"))
    assert kills >= least_kills


@pytest.mark.parametrize("scenario", ["put", "put-new", "move", "append", "delete"])
async def test_killed_at_random_it_leaves_whole_files_and_only_garbage(
    parameters: dict[str, Any], scenario: str
) -> None:
    assert int(await run("crash.py", "rados", json.dumps(parameters), scenario, "at-random", 10)) == 10
