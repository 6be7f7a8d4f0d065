"""The events of pulls, which nobody waits for: published in the background, many at a time.

They wait in memory, up to a bound, while the stream is not there or the outbox is not empty: a pull does not
overtake the push of what was pulled. Beyond the bound they are shed, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace

import structlog

from api_gateway.events.link import Link
from api_gateway.events.message import Message
from api_gateway.events.metrics import EVENTS, WAITING_PULLS
from api_gateway.events.outbox import Outbox, OutboxError
from api_gateway.events.references import references
from moorage.config.events import Outbox as Limits
from moorage.events import Event

log = structlog.get_logger("api_gateway.events")

# What waits, at most: events, and bytes of the manifests whose references they still lack.
MOST_EVENTS = 10_000
MOST_BYTES = 16 << 20

# Events that are under way at once.
_BATCH = 256

# Seconds: what comes within the pause goes together.
_PAUSE = 0.01
_LOOK = 0.1
_DEADLINE = 5.0
_RETRY = 0.5

# What the last of them get when the gateway stops; the others go to the outbox then.
_LAST_DEADLINE = 2.0


@dataclass(frozen=True, slots=True)
class _Pull:
    event: Event
    content: bytes
    """A manifest whose references belong into the event; empty for none."""


class Pulls:
    """Takes the events of pulls."""

    def __init__(self, link: Link, outbox: Outbox, limits: Limits) -> None:
        self._link = link
        self._outbox = outbox
        self._limits = limits
        self._waiting: deque[_Pull] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._sheds = False
        self._shed = EVENTS.labels("pull", "shed")
        self._published = EVENTS.labels("pull", "stream")

    def has_room(self) -> bool:
        """Whether another one can wait; if not, count it as shed."""
        if len(self._waiting) < MOST_EVENTS and self._bytes < MOST_BYTES:
            self._sheds = False
            return True
        self._shed.inc()
        if not self._sheds:
            self._sheds = True
            log.warning("pull events are shed: too many wait for the stream", waiting=len(self._waiting))
        return False

    def add(self, event: Event, content: bytes = b"") -> None:
        """Publish an event soon. `content` is a manifest whose references belong into it."""
        self._waiting.append(_Pull(event, content))
        self._bytes += len(content)
        self._some.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._some.wait()
            WAITING_PULLS.set(len(self._waiting))
            await self._link.came.wait()
            if not self._outbox.is_empty:
                await asyncio.sleep(_LOOK)
            elif not await self._publish(_DEADLINE):
                await asyncio.sleep(_RETRY)
            elif len(self._waiting) < _BATCH:
                await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Publish what waits, or put it into the outbox; after `run` has ended."""
        try:
            async with asyncio.timeout(_LAST_DEADLINE):
                while self._waiting and self._link.is_up and self._outbox.is_empty:
                    if not await self._publish(_LAST_DEADLINE):
                        break
        except TimeoutError:
            log.warning("NATS took no more pull events in time")
        if self._waiting:
            await self._keep()

    async def _publish(self, timeout: float) -> bool:
        """Publish the first of them; False when some of these were not taken, which wait on then."""
        batch = self._take()
        unsent = batch
        try:
            messages = [await _message(pull) for pull in batch]
            reasons = await self._link.publish_all(messages, timeout)
            unsent = [pull for pull, reason in zip(batch, reasons, strict=True) if reason is not None]
        finally:
            # A cancelled one may be there; it is repeated under its id.
            self._give_back(unsent)
        self._published.inc(len(batch) - len(unsent))
        return not unsent

    def _take(self) -> list[_Pull]:
        batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        self._bytes -= sum(len(pull.content) for pull in batch)
        if not self._waiting:
            self._some.clear()
        return batch

    def _give_back(self, pulls: list[_Pull]) -> None:
        if pulls:
            self._waiting.extendleft(reversed(pulls))
            self._bytes += sum(len(pull.content) for pull in pulls)
            self._some.set()

    async def _keep(self) -> None:
        """Put what waits into the outbox, where it has room."""
        state = self._outbox.state
        room = max(self._limits.maxevents - state.events, 0) if state.bytes < self._limits.maxbytes else 0
        pulls = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            messages = [await _message(pull) for pull in pulls[:room]]
            if messages:
                await self._outbox.append(messages)
        except OutboxError as error:
            log.error(  # noqa: TRY400  the reason is in words
                "pull events are lost", events=len(pulls), reason=str(error)
            )
            self._shed.inc(len(pulls))
            return
        EVENTS.labels("pull", "outbox").inc(len(messages))
        self._shed.inc(len(pulls) - len(messages))


async def _message(pull: _Pull) -> Message:
    if not pull.content:
        return Message.of(pull.event)
    target = replace(pull.event.target, references=await references(pull.content))
    return Message.of(replace(pull.event, target=target))
