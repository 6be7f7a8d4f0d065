"""The benchmark itself, on sizes that say nothing."""

from __future__ import annotations

from pathlib import Path

from bench import __main__ as bench
from bench import report
from bench.registries import NAMES
from bench.results import read
from bench.tables import GROUPS

# One of each kind of request is enough.
SKIPPED = ("/v2/", "by digest", "HEAD manifest", "GET blob", "GET manifest by tag among")


def test_every_kind_of_operation_runs_against_both_registries_and_becomes_a_report(tmp_path: Path) -> None:
    found = tmp_path / "results.json"
    skip = [part for word in SKIPPED for part in ("--skip", word)]
    status = bench.main(["--tiny", "--storage", str(tmp_path), "--json", str(found), *skip])
    results = read(found)
    assert results.failures == []
    assert status == 0
    assert {row.group for row in results.rows} == set(GROUPS)
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
    assert list(tmp_path.glob("moorage-bench-*")) == []


def test_words_that_name_no_operation_are_an_error(tmp_path: Path) -> None:
    assert bench.main(["--tiny", "--storage", str(tmp_path), "--only", "no-such-operation"]) == 1
