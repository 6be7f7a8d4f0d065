"""What a client did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class WrongAnswerError(Exception):
    """A registry's answer that is not the one that the request must have."""


@dataclass(frozen=True)
class Work:
    """Requests (transfers, whole commands) that were all answered rightly, and the bytes of their bodies.

    `seconds` is the time that they took; `latency_ms` has the percentiles of a single one ("p50", "p99"),
    where the client knows them.
    """

    requests: int
    bytes: int
    seconds: float
    latency_ms: Mapping[str, float] = field(default_factory=dict)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """The median and the 99th percentile by nearest rank, in milliseconds."""
    ordered = sorted(seconds)
    # Integers: 0.99 * 100 is more than 99 in floating point.
    return {f"p{p}": 1000 * ordered[-(-p * len(ordered) // 100) - 1] for p in (50, 99)}
