"""Medians over the rounds, and how the registries compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.results import Row, Run

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Figures:
    """Medians of the runs of one operation by one registry.

    `rate` counts requests (transfers, commands) in a second, `mb_per_second` the bytes of bodies in units of
    10^6. The peak is that of all processes together, bytes.
    """

    rate: float
    mb_per_second: float
    seconds: float
    cpu_ms_per_request: float
    cpu_seconds_per_gib: float | None
    p50_ms: float | None
    p99_ms: float | None
    peak: float
    client_share: float

    @property
    def cpu_seconds_per_request(self) -> float:
        return self.cpu_ms_per_request / 1000


def figures(runs: Sequence[Run]) -> Figures | None:
    """The medians, each for itself; None when there are no runs."""
    if not runs:
        return None

    def middle(value: Callable[[Run], float]) -> float:
        return median(value(run) for run in runs)

    def latency(name: str) -> float | None:
        known = [run.latency_ms[name] for run in runs if name in run.latency_ms]
        return median(known) if known else None

    moved = all(run.bytes for run in runs)
    return Figures(
        rate=middle(lambda run: run.requests / run.seconds),
        mb_per_second=middle(lambda run: run.bytes / run.seconds / 1e6),
        seconds=middle(lambda run: run.seconds / run.requests),
        cpu_ms_per_request=middle(lambda run: 1000 * run.cpu_seconds / run.requests),
        cpu_seconds_per_gib=middle(lambda run: run.cpu_seconds * GIB / run.bytes) if moved else None,
        p50_ms=latency("p50"),
        p99_ms=latency("p99"),
        peak=middle(lambda run: sum(memory.peak for memory in run.memory)),
        client_share=middle(lambda run: run.client_cpu_seconds / run.seconds),
    )


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """How many times theirs ours is; None when either is not known, or theirs is nothing."""
    if ours is None or not theirs:
        return None
    return ours / theirs


def compare(row: Row, ours: str, theirs: str) -> tuple[Figures | None, Figures | None]:
    """The figures of either registry for one operation."""
    return figures(row.of(ours)), figures(row.of(theirs))
