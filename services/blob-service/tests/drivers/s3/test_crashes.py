"""Processes that die at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.s3 import TestBucket

PROGRAM = Path(__file__).parents[1] / "programs" / "crash_s3.py"
ROUNDS = int(os.environ.get("MOORAGE_CRASH_ROUNDS", "8"))


@pytest.mark.parametrize("scenario", ["put", "put-new", "move", "append", "append-parts", "delete"])
def test_a_killed_process_leaves_nothing_torn_and_loses_nothing_acknowledged(
    bucket: TestBucket, root: str, scenario: str
) -> None:
    parameters = bucket.section(root, chunksize=5 << 20)
    keys = {
        "AWS_ACCESS_KEY_ID": parameters.pop("accesskey"),
        "AWS_SECRET_ACCESS_KEY": parameters.pop("secretkey"),
    }
    done = subprocess.run(
        [sys.executable, PROGRAM, json.dumps(parameters), scenario, str(ROUNDS)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **keys},
        check=False,
    )
    try:
        assert done.returncode == 0, done.stderr[-2000:]
        assert int(done.stdout) == ROUNDS
    finally:
        bucket.empty(f"{root}/")
