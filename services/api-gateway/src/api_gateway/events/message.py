"""An event as the message that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from moorage.events import Event
from moorage.events.subjects import CONTENT_TYPE, CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER, subject

log = structlog.get_logger("api_gateway.events")

# Bytes of an event's JSON, at most; a broker takes messages of 1 MiB unless it is told otherwise. Only a
# manifest's references can make an event as large.
LARGEST_BODY = 512 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to JetStream, or into the outbox."""

    id: str
    repository: str
    subject: str
    body: bytes

    @classmethod
    def of(cls, event: Event) -> Message:
        """The message of an event; without its references, if they make it too large."""
        body = event.encode()
        if len(body) > LARGEST_BODY:
            log.warning("an event is published without its references", event=event.id, bytes=len(body))
            body = replace(event, target=replace(event.target, references=())).encode()
        repository = event.target.repository
        return cls(event.id, repository, subject(event.action, repository), body)

    @property
    def headers(self) -> dict[str, str]:
        """Its headers on NATS. The id lets JetStream see a repetition."""
        return {MESSAGE_ID_HEADER: self.id, CONTENT_TYPE_HEADER: CONTENT_TYPE}
