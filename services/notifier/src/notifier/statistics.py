"""What is counted of one endpoint: for Prometheus, and for `/debug/vars` as distribution has it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from notifier import metrics
from notifier.lanes import Waiting
from notifier.outcome import Outcome


class Statistics:
    """One endpoint's."""

    def __init__(self, endpoint: str) -> None:
        self._events = Counter[str]()
        self._statuses = Counter[str]()
        self._pending = 0
        self._endpoint = endpoint
        self.last_failure = ""
        """Why the last attempt failed; empty when it did not."""
        self._latency = metrics.LATENCY.labels(endpoint)
        self._duration = metrics.ATTEMPT_DURATION.labels(endpoint)
        self._retries = metrics.RETRIES.labels(endpoint)
        self._redeliveries = metrics.REDELIVERIES.labels(endpoint)
        self._dead_letters = metrics.DEAD_LETTERS.labels(endpoint)
        self._lost = metrics.LOST.labels(endpoint)
        self._breaker = metrics.BREAKER_OPEN.labels(endpoint)
        self._active = metrics.ACTIVE.labels(endpoint)
        self.pending(0)

    def arrived(self, *, again: bool) -> None:
        """An event for the endpoint came out of the stream; `again`, when not for the first time."""
        self._count("Events", 1)
        if again:
            self._redeliveries.inc()

    def attempted(self, events: Sequence[Waiting], outcome: Outcome, seconds: float) -> None:
        """An attempt has ended."""
        self._duration.observe(seconds)
        self.last_failure = "" if outcome.succeeded else str(outcome)
        retries = sum(waiting.attempts > 1 for waiting in events)
        if retries:
            self._retries.inc(retries)
        if outcome.status is None:
            self._count("Errors", len(events))
            return
        self._statuses[outcome.code] += len(events)
        metrics.STATUS.labels(outcome.code, self._endpoint).inc(len(events))
        self._count("Successes" if outcome.succeeded else "Failures", len(events))
        if outcome.succeeded:
            now = time.time()
            for waiting in events:
                self._latency.observe(max(0.0, now - waiting.stored))

    def dead(self, events: Collection[Waiting]) -> None:
        """Events were given up."""
        self._dead_letters.inc(len(events))

    def lost(self, events: int) -> None:
        """Events left the stream too early."""
        self._lost.inc(events)

    def pending(self, events: int) -> None:
        """How many events the endpoint does not have yet."""
        self._pending = events
        metrics.PENDING.labels(self._endpoint).set(events)

    def breaker(self, is_open: bool) -> None:
        """Whether the endpoint is given up for the moment."""
        self._breaker.set(is_open)

    def active(self, is_active: bool) -> None:
        """Whether this notifier delivers to it."""
        self._active.set(is_active)
        if not is_active:
            # Another notifier counts them now.
            self.pending(0)

    def document(self) -> dict[str, Any]:
        """As in `/debug/vars`."""
        return {
            "Pending": self._pending,
            **{name: self._events[name] for name in ("Events", "Successes", "Failures", "Errors")},
            "Statuses": dict(self._statuses),
        }

    def _count(self, kind: str, events: int) -> None:
        self._events[kind] += events
        metrics.EVENTS.labels(kind, self._endpoint).inc(events)
