"""The events of changes: safe before the change is acknowledged.

An event is safe when JetStream has acknowledged it, or when it is in the outbox. It goes to the outbox when
the stream is not there, when JetStream does not acknowledge within the deadline, and always while anything is
in the outbox already, so that it does not overtake. So only the first change waits for a broker that has gone
silent. Of one repository one change at a time hands over its events: if one of them goes to the outbox, those
behind it do so too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from api_gateway.events.link import Link
from api_gateway.events.message import Message
from api_gateway.events.metrics import EVENTS, PUBLISH_SECONDS
from api_gateway.events.outbox import Outbox, OutboxError
from moorage.config.events import Outbox as Limits
from moorage.errors import ErrorCode, RegistryError
from moorage.events.subjects import parse_subject
from moorage.locks import KeyedLocks

log = structlog.get_logger("api_gateway.events")

# Seconds that JetStream has to acknowledge a change's event.
DEADLINE = 1.0


class Publisher:
    """Takes the events of changes, and refuses changes while the outbox holds what `limits` say."""

    def __init__(self, link: Link, outbox: Outbox, limits: Limits) -> None:
        self._link = link
        self._outbox = outbox
        self._limits = limits
        self._handing_over: KeyedLocks[str] = KeyedLocks()
        self._changes = 0
        self._detour = False

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A change, which is made and published while the context is open.

        Raises RegistryError UNAVAILABLE when its events could not be kept.
        """
        state = self._outbox.state
        # Each change that is under way may put an event there.
        if state.events + self._changes >= self._limits.maxevents and state.events:
            self._refuse(f"the outbox holds {state.events} events, as many as it may")
        if state.bytes >= self._limits.maxbytes:
            self._refuse(f"the outbox holds {state.bytes} bytes of events, as many as it may")
        if self._outbox.has_failed and not (state.events == 0 and self._link.is_up):
            self._refuse("the outbox cannot be written")
        self._changes += 1
        try:
            yield
        finally:
            self._changes -= 1

    async def publish(self, messages: Sequence[Message]) -> None:
        """Make the events of one change, all of one repository, safe.

        Raises RegistryError UNAVAILABLE when that fails: the change must not be acknowledged then.
        """
        started = time.perf_counter()
        async with self._handing_over.hold(messages[0].repository):
            handed_over = await self._to_stream(messages)
            rest = messages[handed_over:]
            if rest:
                await self._to_outbox(rest)
        outcome = "outbox" if rest else "stream"
        PUBLISH_SECONDS.labels(outcome).observe(time.perf_counter() - started)

    async def _to_stream(self, messages: Sequence[Message]) -> int:
        """How many of them, from the first on, the stream has."""
        for number, message in enumerate(messages):
            if not (self._outbox.is_empty and self._link.is_up):
                self._say_detour("the stream is not there, or earlier events wait in the outbox")
                return number
            reason = await self._link.publish(message, DEADLINE)
            if reason is not None:
                self._say_detour(reason)
                return number
            count(message, "stream")
        self._detour = False
        return len(messages)

    async def _to_outbox(self, messages: Sequence[Message]) -> None:
        try:
            await self._outbox.append(messages)
        except OutboxError as error:
            for message in messages:
                count(message, "refused")
            log.error(  # noqa: TRY400  the reason is in words
                "a change is not acknowledged, for its events are not safe", reason=str(error)
            )
            raise RegistryError(
                ErrorCode.UNAVAILABLE, message="the events of this change could not be kept; try again"
            ) from error
        for message in messages:
            count(message, "outbox")

    def _say_detour(self, reason: str) -> None:
        """Log it once, not with each event."""
        if not self._detour:
            self._detour = True
            log.warning("events go to the outbox", reason=reason)

    def _refuse(self, reason: str) -> None:
        raise RegistryError(
            ErrorCode.UNAVAILABLE,
            {"reason": reason},
            message="no changes are taken: their events could not be kept while NATS is away",
        )


def count(message: Message, outcome: str) -> None:
    """Count an event by where it went."""
    EVENTS.labels(parse_subject(message.subject)[0], outcome).inc()
