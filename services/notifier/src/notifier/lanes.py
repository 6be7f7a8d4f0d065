"""Events that wait for one endpoint, in a lane for each repository.

A repository's events are sent in order, each once the one before it is done; those of other repositories
pass.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from moorage.events import Event


class Receipt(Protocol):
    """Where an event came from, and where to say that it is done. `str` is the same whenever it comes."""

    async def done(self) -> None:
        """The event is never to come again."""


@dataclass(slots=True, eq=False)
class Waiting:
    """An event on its way to an endpoint."""

    event: Event
    receipt: Receipt
    stored: float
    """When the stream took it, seconds since the epoch."""

    arrived: float
    """When it came here, by the monotonic clock."""

    attempts: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of the message: which trace it belongs to, while there is one."""

    alone: bool = False
    """Whether it is sent by itself: it was in a batch that the endpoint refused."""


@dataclass(slots=True, eq=False)
class _Lane:
    queue: deque[Waiting] = field(default_factory=deque)
    ready: bool = True


class Lanes:
    """The lanes of one endpoint; a single one when `one` is set, which keeps the order of all."""

    def __init__(self, *, one: bool = False) -> None:
        self._one = one
        self._lanes: dict[str, _Lane] = {}
        # Lanes whose first event may be sent, longest waiting first.
        self._ready: deque[_Lane] = deque()
        self._ready_events = 0
        # Lanes that were left aside, by when they go on.
        self._aside: list[tuple[float, int, _Lane]] = []
        self._order = itertools.count()

    @property
    def ready(self) -> int:
        """How many events could be sent now."""
        return self._ready_events

    @property
    def first(self) -> Waiting | None:
        """The event that is sent next."""
        return self._ready[0].queue[0] if self._ready else None

    def add(self, waiting: Waiting) -> None:
        """Put an event behind the others of its repository."""
        key = self._key(waiting)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            self._ready.append(lane)
        lane.queue.append(waiting)
        if lane.ready:
            self._ready_events += 1

    def take(self, most: int) -> list[Waiting]:
        """Up to `most` events to be sent together; their lanes stand still until `settle`."""
        taken: list[Waiting] = []
        while self._ready and len(taken) < most:
            lane = self._ready[0]
            if taken and lane.queue[0].alone:
                break
            self._stop(self._ready.popleft())
            for waiting in lane.queue:
                if len(taken) == most or (taken and waiting.alone):
                    break
                taken.append(waiting)
                if waiting.alone:
                    return taken
        return taken

    def take_first(self, which: Callable[[Waiting], bool]) -> list[Waiting]:
        """The events that `which` is true of at the head of lanes from which none is being sent.

        Their lanes stand still as well.
        """
        taken: list[Waiting] = []
        for lane in [lane for lane in self._ready if which(lane.queue[0])]:
            self._ready.remove(lane)
            self._stop(lane)
            taken += itertools.takewhile(which, lane.queue)
        aside = [entry for entry in self._aside if which(entry[2].queue[0])]
        if aside:
            self._aside = [entry for entry in self._aside if entry not in aside]
            heapq.heapify(self._aside)
            for _, _, lane in aside:
                taken += itertools.takewhile(which, lane.queue)
        return taken

    def settle(
        self, taken: Iterable[Waiting], finished: Collection[Waiting], *, not_before: float = 0.0
    ) -> None:
        """Let the lanes of events that were taken go on, without those that are finished.

        Those that lead to one that is not are left aside until `not_before`, by the monotonic clock.
        """
        done = set(map(id, finished))
        lanes: dict[str, list[Waiting]] = {}
        for waiting in taken:
            lanes.setdefault(self._key(waiting), []).append(waiting)
        for key, heads in lanes.items():
            queue = self._lanes[key].queue
            for _ in heads:
                queue.popleft()
            queue.extendleft(waiting for waiting in reversed(heads) if id(waiting) not in done)
            if not queue:
                del self._lanes[key]
            elif not_before and queue[0] in heads:
                heapq.heappush(self._aside, (not_before, next(self._order), self._lanes[key]))
            else:
                self._go_on(self._lanes[key])

    def bring_back(self, now: float) -> float | None:
        """Let lanes go on that were left aside until now; when the next one is, None when there is none."""
        while self._aside and self._aside[0][0] <= now:
            self._go_on(heapq.heappop(self._aside)[2])
        return self._aside[0][0] if self._aside else None

    def _key(self, waiting: Waiting) -> str:
        return "" if self._one else waiting.event.target.repository

    def _stop(self, lane: _Lane) -> None:
        lane.ready = False
        self._ready_events -= len(lane.queue)

    def _go_on(self, lane: _Lane) -> None:
        lane.ready = True
        self._ready.append(lane)
        self._ready_events += len(lane.queue)
