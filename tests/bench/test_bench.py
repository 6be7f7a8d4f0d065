"""The benchmark itself, on sizes that say nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from bench import __main__ as bench
from bench import report
from bench.registries import NAMES
from bench.results import read
from bench.tables import GROUPS
from support.processes import Process, wait_until

OTHERS = ("--skip", "commands", "--skip", "growth", "--skip", "events")
# One request by wrk and one HEAD are enough.
FEW_REQUESTS = tuple(
    part for word in ("/v2/", "by digest", "HEAD manifest", "GET blob") for part in ("--skip", word)
)


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ((*OTHERS, *FEW_REQUESTS), set(GROUPS) - {"commands", "growth", "events"}),
        (("--only", "commands"), {"commands"}),
        (("--only", "growth"), {"growth"}),
        (("--only", "events"), {"events"}),
    ],
    ids=["requests and blobs", "whole commands", "one growing storage tree", "a webhook"],
)
def test_operations_run_against_both_registries_and_become_a_report(
    words: Sequence[str], groups: set[str], tmp_path: Path
) -> None:
    found = tmp_path / "results.json"
    status = bench.main(["--tiny", "--storage", str(tmp_path), "--json", str(found), *words])
    results = read(found)
    assert results.failures == []
    assert status == 0
    assert {row.group for row in results.rows} == groups
    for row in results.rows:
        assert {run.registry for run in row.runs} == set(NAMES), row.name
        for run in row.runs:
            assert run.requests > 0
            assert run.seconds > 0
            assert sum(memory.peak for memory in run.memory) > 1 << 20

    assert report.main([str(found), "--docs", str(tmp_path / "docs")]) == 0
    document = (tmp_path / "docs/performance.md").read_text()
    for row in results.rows:
        assert f"| {row.name} " in document
    for plot in (tmp_path / "docs/performance").glob("*.svg"):
        ElementTree.parse(plot)
    assert list(tmp_path.glob("moorage-bench-*")) == []


def test_words_that_name_no_operation_are_an_error(tmp_path: Path) -> None:
    assert bench.main(["--tiny", "--storage", str(tmp_path), "--only", "no-such-operation"]) == 1


def test_a_benchmark_that_is_ended_stops_its_registries_and_removes_their_storage(tmp_path: Path) -> None:
    path = os.pathsep.join(part for part in sys.path if part)
    storage = tmp_path / "storage"
    storage.mkdir()
    process = Process(
        [sys.executable, "-m", "bench", "--storage", storage, "--only", "GET /v2/"],
        log=tmp_path / "bench.log",
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(storage)},
    )
    wait_until(lambda: "GET /v2/" in process.log.read_text(), timeout=90, what="an operation was measured")
    children = process.tree()[1:]
    assert children
    process.signal(signal.SIGTERM)
    wait_until(lambda: not process.running(), timeout=60, what="the benchmark has ended")
    assert [child for child in children if psutil.pid_exists(child.pid)] == []
    assert list(storage.iterdir()) == []
