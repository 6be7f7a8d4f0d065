"""Delivery to one endpoint, by the one notifier that holds its lease.

Events come from the endpoint's places in the streams, wait in lanes by repository, and are sent as far as
the breaker and the number of requests at a time allow. One that was taken is acknowledged; one that has
been tried too often, or for too long, becomes a dead letter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Protocol

import nats.errors
import structlog
from nats.js import JetStreamContext

from moorage.config.endpoints import Endpoint
from moorage.events import Event, InvalidEventError
from moorage.events.subjects import STREAM
from notifier.attempts import attempted
from notifier.bookmarks import Bookmarks
from notifier.breaker import Breaker, Permit
from notifier.concurrency import until_one_ends
from notifier.dead_letters import bury
from notifier.filters import wants
from notifier.lanes import Lanes, Waiting
from notifier.leases import Lease
from notifier.names import REPLAY_STREAM, consumer_name, replay_subject
from notifier.outcome import Outcome
from notifier.place import Done, Message, Place, PlaceName, pending
from notifier.statistics import Statistics

log = structlog.get_logger("notifier.delivery")

# Seconds between two looks at a lease or a dead-letter stream that is not there.
_SOON = 0.25

# 2 to this power is more than any pause may grow by.
_MOST_DOUBLINGS = 32

# Within the time of a take-over, the broker is told this often that events are in hand.
_WORDS = 3


class Sink(Protocol):
    """What sends events to an endpoint."""

    async def send(self, events: Sequence[Event]) -> Outcome:
        """One attempt."""


class Delivery:
    """One endpoint's, for as long as this notifier holds the lease."""

    def __init__(
        self,
        endpoint: Endpoint,
        sink: Sink,
        breaker: Breaker,
        statistics: Statistics,
        done: dict[str, Done],
        jetstream: JetStreamContext,
        lease: Lease,
        bookmarks: Bookmarks,
        takeover: float,
        changed: Callable[[], None],
    ) -> None:
        """`done` is what was done lately, by stream; `changed` is told when the breaker may have."""
        self._endpoint = endpoint
        self._sink = sink
        self._breaker = breaker
        self._statistics = statistics
        self._jetstream = jetstream
        self._lease = lease
        self._takeover = takeover
        self._changed = changed
        self._lanes = Lanes(one=endpoint.concurrency == 1)
        self._attempts: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._unreadable: asyncio.Queue[Message] = asyncio.Queue()
        consumer = consumer_name(endpoint.name)
        self._places = [
            Place(
                jetstream,
                name,
                takeover=takeover,
                remaining=lambda: lease.remaining,
                done=done.setdefault(name.stream, Done()),
                passed_on=self._arrived,
                lost=self._lost,
                bookmarks=kept,
            )
            for name, kept in (
                (PlaceName(STREAM, consumer, endpoint.name), bookmarks),
                (PlaceName(REPLAY_STREAM, consumer, endpoint.name, replay_subject(endpoint.name)), None),
            )
        ]
        self._to_skip: asyncio.Queue[Message] = asyncio.Queue()

    async def run(self, *endings: asyncio.Event) -> None:
        """Deliver until one of `endings` is set or the lease is lost.

        Attempts under way end first, and what was not attempted is given back. Raises PlaceLostError,
        nats.errors.Error, OSError or TimeoutError.
        """
        try:
            for place in self._places:
                await place.open()
            self._statistics.active(True)
            await until_one_ends(
                *(place.run() for place in self._places),
                self._dispatch(),
                self._skip(),
                self._bury_unreadable(),
                self._keep(),
                self._lease.keep(),
                *(ending.wait() for ending in endings),
            )
        finally:
            self._statistics.active(False)
            if self._attempts:
                await asyncio.wait(self._attempts)
            for place in self._places:
                await place.close()

    def _arrived(self, message: Message) -> None:
        """A message is next, in the order of its place."""
        try:
            event = Event.decode(message.msg.data)
        except InvalidEventError:
            self._unreadable.put_nowait(message)
            return
        if not wants(self._endpoint, event):
            self._to_skip.put_nowait(message)
            return
        self._statistics.arrived(again=message.deliveries > 1)
        headers = message.msg.headers or {}
        self._lanes.add(
            Waiting(event, message, message.stored.timestamp(), time.monotonic(), headers=headers)
        )
        self._wake.set()

    def _lost(self, events: int) -> None:
        self._statistics.lost(events)
        log.error(
            "events left the stream before the endpoint had them", endpoint=self._endpoint.name, events=events
        )

    async def _skip(self) -> None:
        while True:
            await (await self._to_skip.get()).done()

    async def _bury_unreadable(self) -> None:
        while True:
            message = await self._unreadable.get()
            log.error("a message of the stream is not an event", stream_sequence=message.sequence)
            await bury(
                self._jetstream,
                self._endpoint.name,
                message.msg.data,
                reason="not an event",
                attempts=0,
                stored=message.stored.timestamp(),
                receipt=str(message),
            )
            await message.done()

    async def _dispatch(self) -> None:
        while True:
            self._wake.clear()
            pause = self._begin_attempts()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _begin_attempts(self) -> float | None:
        """Begin what may begin; seconds until there may be more to do, None for when something happens."""
        most = self._endpoint.batch.events
        now = time.monotonic()
        aside = self._lanes.bring_back(now)
        later = None if aside is None else aside - now
        while (first := self._lanes.first) is not None and len(self._attempts) < self._endpoint.concurrency:
            if self._lease.remaining < self._endpoint.timeout:
                return _SOON
            pause = self._breaker.pause
            if pause != 0.0:
                return pause  # None: a probe decides, and wakes this up
            if 1 < most > self._lanes.ready and not first.attempts:
                waited = time.monotonic() - first.arrived
                if waited < self._endpoint.batch.wait:
                    return _sooner(self._endpoint.batch.wait - waited, later)
            permit = self._breaker.admit()
            if permit is None:
                return None
            task = asyncio.create_task(self._attempt(self._lanes.take(most), permit))
            self._attempts.add(task)
            task.add_done_callback(self._attempt_ended)
        return later

    def _attempt_ended(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("an attempt broke", endpoint=self._endpoint.name, exc_info=task.exception())

    async def _attempt(self, events: list[Waiting], permit: Permit) -> None:
        finished: Collection[Waiting] = ()
        not_before = 0.0
        try:
            began = time.monotonic()
            try:
                outcome = await attempted(self._sink, self._endpoint.name, events)
            except BaseException:
                self._breaker.abandoned(permit)
                raise
            for waiting in events:
                waiting.attempts += 1
            self._statistics.attempted(events, outcome, time.monotonic() - began)
            if outcome.succeeded:
                self._succeeded(permit)
                finished = events
            else:
                self._failed(permit, events, outcome)
                not_before = time.monotonic() + self._pause(events)
                finished = await self._buried(
                    [waiting for waiting in events if self._is_given_up(waiting)], str(outcome)
                )
            for waiting in finished:
                await waiting.receipt.done()
        finally:
            self._lanes.settle(events, finished, not_before=not_before)

    def _pause(self, events: Sequence[Waiting]) -> float:
        """Seconds for which the repositories of events that failed let others go first."""
        backoff = self._endpoint.backoff
        most = max(waiting.attempts for waiting in events)
        growth: int = 2 ** min(most - 1, _MOST_DOUBLINGS)
        return min(backoff, backoff / self._endpoint.threshold * growth)

    def _succeeded(self, permit: Permit) -> None:
        was_open = self._breaker.is_open
        self._breaker.succeeded(permit)
        if was_open:
            self._statistics.breaker(False)
            log.warning("an endpoint takes events again", endpoint=self._endpoint.name)
            self._changed()

    def _failed(self, permit: Permit, events: list[Waiting], outcome: Outcome) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed(permit)
        if outcome.status is not None and len(events) > 1:
            for waiting in events:
                waiting.alone = True
        log.info(
            "an endpoint did not take events",
            endpoint=self._endpoint.name,
            reason=str(outcome),
            events=len(events),
            **{"event.id": events[0].event.id},
        )
        if self._breaker.is_open and not was_open:
            self._statistics.breaker(True)
            log.error(
                "an endpoint is given up for a while",
                endpoint=self._endpoint.name,
                failures=self._breaker.failures,
                reason=str(outcome),
            )
            self._changed()

    def _is_given_up(self, waiting: Waiting) -> bool:
        most = self._endpoint.maxattempts
        return bool(most and waiting.attempts >= most) or self._is_too_old(waiting)

    def _is_too_old(self, waiting: Waiting) -> bool:
        return bool(self._endpoint.maxage) and time.time() - waiting.stored >= self._endpoint.maxage

    async def _buried(self, events: Sequence[Waiting], reason: str) -> list[Waiting]:
        """Make dead letters; those that are. The others stay where they are."""
        buried: list[Waiting] = []
        for waiting in events:
            try:
                await bury(
                    self._jetstream,
                    self._endpoint.name,
                    waiting.event.encode(),
                    reason=reason,
                    attempts=waiting.attempts,
                    stored=waiting.stored,
                    receipt=str(waiting.receipt),
                )
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.warning(
                    "a dead letter could not be written; the event stays",
                    endpoint=self._endpoint.name,
                    reason=str(error) or type(error).__name__,
                )
                break
            log.error(
                "an event is given up",
                endpoint=self._endpoint.name,
                reason=reason,
                attempts=waiting.attempts,
                **{"event.id": waiting.event.id},
            )
            buried.append(waiting)
        if buried:
            self._statistics.dead(buried)
        return buried

    async def _keep(self) -> None:
        """Tell the broker what is in hand, give up what is too old, and see how much is pending."""
        while True:
            for place in self._places:
                await place.keep()
            await self._bury_old()
            left = 0
            for place in self._places:
                info = await place.info()
                left += pending(info)
                await place.bookmark(info)
            self._statistics.pending(left)
            await asyncio.sleep(self._takeover / _WORDS)

    async def _bury_old(self) -> None:
        """An endpoint that is away is asked once in a while, and most events of it never."""
        old = self._lanes.take_first(self._is_too_old)
        buried: list[Waiting] = []
        try:
            buried = await self._buried(old, "too old")
            for waiting in buried:
                await waiting.receipt.done()
        finally:
            self._lanes.settle(old, buried)
            self._wake.set()


def _sooner(one: float, other: float | None) -> float:
    return one if other is None else min(one, other)
