"""An event as the message that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from moorage import context
from moorage.context import REQUEST_ID_KEY
from moorage.events import Event
from moorage.events.subjects import message_headers, subject

log = structlog.get_logger("api_gateway.events")

# Bytes of an event's JSON, at most; a broker takes messages of 1 MiB unless it is told otherwise. Only a
# manifest's references can make an event as large.
LARGEST_BODY = 512 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to JetStream, or into the outbox.

    `context` is where it came from: its request's id, and the trace while there is one. The outbox keeps
    neither; the id stands in the event as well.
    """

    id: str
    repository: str
    subject: str
    body: bytes
    context: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, event: Event) -> Message:
        """The message of an event; without its references, if they make it too large."""
        body = event.encode()
        if len(body) > LARGEST_BODY:
            log.warning("an event is published without its references", event=event.id, bytes=len(body))
            body = replace(event, target=replace(event.target, references=())).encode()
        repository = event.target.repository
        came_from = {REQUEST_ID_KEY: event.request.id} if event.request.id else {}
        if context.has_more_than_an_id():
            came_from = {**context.outgoing(), **came_from}
        return cls(event.id, repository, subject(event.action, repository), body, came_from)

    @property
    def headers(self) -> dict[str, str]:
        """Its headers on NATS. The id lets JetStream see a repetition."""
        return {**message_headers(self.id), **self.context}
