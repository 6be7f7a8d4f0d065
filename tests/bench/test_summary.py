from __future__ import annotations

from pathlib import Path

import pytest

from bench.clients.work import WrongAnswerError, percentiles
from bench.clients.wrk import summary_in, work_in
from bench.measure import Memory
from bench.results import Results, Run, read
from bench.summary import GIB, figures, ratio


def run(seconds: float, cpu: float, *, requests: int = 100, size: int = 0, p50: float | None = None) -> Run:
    return Run(
        registry="moorage",
        round=0,
        requests=requests,
        bytes=size,
        seconds=seconds,
        cpu_seconds=cpu,
        client_cpu_seconds=seconds / 4,
        latency_ms={} if p50 is None else {"p50": p50, "p99": 9 * p50},
        memory=(Memory("blob", 1, 5), Memory("gateway", 2, int(10 * seconds))),
    )


def test_figures_are_medians_and_one_odd_round_does_not_move_them() -> None:
    found = figures([run(1, 0.5, p50=2.0), run(50, 9, p50=80.0), run(2, 0.4, p50=4.0)])
    assert found is not None
    assert found.rate == 100 / 2
    assert found.cpu_ms_per_request == 5
    assert found.p50_ms == 4
    assert found.p99_ms == 36
    assert found.peak == 5 + 20
    assert found.client_share == 0.25


def test_bytes_give_a_throughput_and_a_price_per_gib() -> None:
    found = figures([run(2, 3, requests=4, size=2 * GIB)])
    assert found is not None
    assert found.mb_per_second == pytest.approx(1073.741824)
    assert found.cpu_seconds_per_gib == 1.5
    assert found.seconds == 0.5
    assert found.p50_ms is None


def test_requests_without_bodies_have_no_price_per_gib() -> None:
    found = figures([run(2, 3)])
    assert found is not None
    assert found.cpu_seconds_per_gib is None


def test_what_was_not_measured_has_no_figures_and_no_ratio() -> None:
    assert figures([]) is None
    assert ratio(None, 2) is None
    assert ratio(2, None) is None
    assert ratio(2, 0) is None
    assert ratio(3, 2) == 1.5


def test_percentiles_are_nearest_ranks_in_milliseconds() -> None:
    assert percentiles([n / 1000 for n in range(100, 0, -1)]) == {"p50": 50, "p99": 99}
    assert percentiles([0.25]) == {"p50": 250, "p99": 250}


SUMMARY = {
    **{"requests": 10, "bytes": 2000, "microseconds": 500_000, "p50": 1500, "p99": 3000},
    **dict.fromkeys(("connect", "read", "write", "status", "timeout"), 0),
}


def test_the_summary_is_found_in_what_wrk_prints() -> None:
    assert summary_in('Running 1s test\n\nSUMMARY {"requests": 3}\n') == {"requests": 3}


def test_a_run_of_wrk_is_work() -> None:
    work = work_in(SUMMARY, 150)
    assert (work.requests, work.bytes, work.seconds) == (10, 1500, 0.5)
    assert work.latency_ms == {"p50": 1.5, "p99": 3.0}


@pytest.mark.parametrize(
    "wrong",
    [{"status": 1}, {"read": 2}, {"requests": 0}, {"bytes": 1499}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_run_of_wrk_with_a_wrong_answer_is_no_work(wrong: dict[str, int]) -> None:
    with pytest.raises(WrongAnswerError):
        work_in({**SUMMARY, **wrong}, 150)


def test_results_read_back_as_they_were_written(tmp_path: Path) -> None:
    results = Results("2026-01-01", {"processor": "p"}, {"Moorage": "1"}, {"plan": "full"})
    results.row("requests", "GET /v2/", 16).runs.append(run(1, 2, p50=1))
    results.failures.append("one")
    results.write(tmp_path / "results.json")
    back = read(tmp_path / "results.json")
    assert back == results
    assert results.row("requests", "GET /v2/", 16) is results.rows[0]


def test_results_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"format": 0}')
    with pytest.raises(ValueError, match="not results of format"):
        read(tmp_path / "results.json")
