"""Several processes on one pool, and processes that are killed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from blob_service.drivers.interface import StorageDriver


async def test_only_one_process_at_a_time_writes_a_file_and_none_waits_for_a_dead_one(
    driver: StorageDriver, parameters: dict[str, Any], check_one_process_writes
) -> None:
    await check_one_process_writes(driver, parameters)


@pytest.mark.parametrize(
    ("scenario", "least_kills"),
    [("put", 9), ("put-new", 12), ("move", 40), ("append", 12), ("delete", 60)],
)
async def test_killed_at_any_change_it_leaves_whole_files_and_only_garbage(
    parameters: dict[str, Any], run_program: Callable[..., Awaitable[str]], scenario: str, least_kills: int
) -> None:
    kills = int(await run_program("crash.py", "rados", json.dumps(parameters), scenario, "at-each-step"))
    assert kills >= least_kills


@pytest.mark.parametrize("scenario", ["put", "put-new", "move", "append", "delete"])
async def test_killed_at_random_it_leaves_whole_files_and_only_garbage(
    parameters: dict[str, Any], run_program: Callable[..., Awaitable[str]], scenario: str
) -> None:
    kills = await run_program("crash.py", "rados", json.dumps(parameters), scenario, "at-random", 10)
    assert int(kills) == 10
