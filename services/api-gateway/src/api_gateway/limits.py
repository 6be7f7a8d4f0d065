"""What is refused because of `http.limits`: counted by the key, and told to the log now and then."""

from __future__ import annotations

import time
from collections import defaultdict

import structlog
from prometheus_client import Counter

log = structlog.get_logger("api_gateway.limits")

_REFUSALS = Counter(
    "registry_http_limit_refusals",
    "What was refused or ended because of a limit, by its key below http.limits.",
    ["limit"],
)

# Seconds between two lines about one limit: an attack must not fill the log as well.
_INTERVAL = 10.0


class _Tally:
    """What one limit has refused since it was last told."""

    def __init__(self) -> None:
        self.count = 0
        self.told = float("-inf")


_tallies: defaultdict[str, _Tally] = defaultdict(_Tally)


def refused(limit: str, client: str) -> None:
    """Count that a limit was applied to a client."""
    _REFUSALS.labels(limit).inc()
    tally, now = _tallies[limit], time.monotonic()
    tally.count += 1
    if now - tally.told >= _INTERVAL:
        log.warning("a limit was reached", limit=f"http.limits.{limit}", client=client, times=tally.count)
        tally.count, tally.told = 0, now
