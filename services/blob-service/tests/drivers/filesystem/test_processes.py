"""Several processes on one folder, and processes that are killed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from blob_service.drivers.interface import StorageDriver


async def test_only_one_process_at_a_time_writes_a_file(
    filesystem: StorageDriver, root: Path, check_one_process_writes
) -> None:
    await check_one_process_writes(filesystem, {"rootdirectory": str(root)})


@pytest.mark.parametrize(
    ("scenario", "least_kills"),
    [("put", 45), ("put-new", 45), ("move", 60), ("append", 45), ("delete", 60)],
)
async def test_killed_at_any_system_call_it_leaves_whole_files(
    root: Path, run_program: Callable[..., Awaitable[str]], scenario: str, least_kills: int
) -> None:
    parameters = json.dumps({"rootdirectory": str(root)})
    kills = int(await run_program("crash.py", "filesystem", parameters, scenario, "at-each-step"))
    assert kills >= least_kills


@pytest.mark.parametrize("scenario", ["put", "put-new", "move", "append", "delete"])
async def test_killed_at_random_it_leaves_whole_files(
    root: Path, run_program: Callable[..., Awaitable[str]], scenario: str
) -> None:
    parameters = json.dumps({"rootdirectory": str(root)})
    assert int(await run_program("crash.py", "filesystem", parameters, scenario, "at-random", 25)) == 25
