"""`notifications`: what an event holds and who is told. Timeouts are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from moorage.config.endpoints import Endpoint
from moorage.config.events import Events, Outbox, Stream
from moorage.config.section import Section
from moorage.config.values import ByteSize, Flag, Seconds

# Seconds.
SHORTEST_TAKEOVER = 1.0
LONGEST_TAKEOVER = 300.0


class DeadLetters(Section):
    """`notifications.deadletters` (Moorage's own): how many seconds they are kept, and how many bytes."""

    maxage: Seconds = 30 * 24 * 60 * 60.0
    maxbytes: ByteSize = 2**30


def _takeover(value: float) -> float:
    if not SHORTEST_TAKEOVER <= value <= LONGEST_TAKEOVER:
        raise ValueError(f"must be from {SHORTEST_TAKEOVER:g}s to {LONGEST_TAKEOVER:g}s")
    return value


class Notifications(Section):
    """`notifications`.

    `allowprivate` is what an endpoint has that says nothing of it. `takeover` is for how many seconds a
    notifier may be silent before another one, or its own successor, takes its endpoints over.
    """

    environment_names: ClassVar[Mapping[str, str]] = {"eventconfig": "events"}

    events: Events = Field(default_factory=Events)
    endpoints: tuple[Endpoint, ...] = ()
    outbox: Outbox = Field(default_factory=Outbox)
    stream: Stream = Field(default_factory=Stream)
    allowprivate: Flag = False
    takeover: Annotated[Seconds, AfterValidator(_takeover)] = 15.0
    deadletters: DeadLetters = Field(default_factory=DeadLetters)

    @property
    def publishes(self) -> bool:
        """Whether gateways publish events: somebody is told, or `events.publish` says so."""
        return self.events.publish or any(not endpoint.disabled for endpoint in self.endpoints)

    def allows_private(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint may be at an address that is not public."""
        return self.allowprivate if endpoint.allowprivate is None else endpoint.allowprivate
