"""`notifications`: what an event holds and who is told. Timeouts are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from moorage.config.events import Events, Outbox, Stream
from moorage.config.section import Section
from moorage.config.values import AbsoluteURL, Count, Flag, Headers, Lines, Seconds, Text


class Ignore(Section):
    """`ignore` of an endpoint: events of these media types or of these actions are not sent."""

    mediatypes: Lines = ()
    actions: Lines = ()


class Endpoint(Section):
    """One of `notifications.endpoints`."""

    name: Text
    url: AbsoluteURL
    disabled: Flag = False
    headers: Headers = Field(default_factory=dict, repr=False)
    timeout: Seconds = 1.0
    threshold: Count = 10
    backoff: Seconds = 1.0
    ignoredmediatypes: Lines = ()
    ignore: Ignore = Field(default_factory=Ignore)


class Notifications(Section):
    """`notifications`."""

    environment_names: ClassVar[Mapping[str, str]] = {"eventconfig": "events"}

    events: Events = Field(default_factory=Events)
    endpoints: tuple[Endpoint, ...] = ()
    outbox: Outbox = Field(default_factory=Outbox)
    stream: Stream = Field(default_factory=Stream)

    @property
    def publishes(self) -> bool:
        """Whether gateways publish events: somebody is told, or `events.publish` says so."""
        return self.events.publish or any(not endpoint.disabled for endpoint in self.endpoints)
