"""What a request to an endpoint holds: distribution's envelope, or CloudEvents.

Sources: distribution, "Work with notifications"; CloudEvents 1.0.2, its JSON event format and its HTTP
binding (structured mode, and batched mode where an endpoint takes batches).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from moorage.config.endpoints import Endpoint
from moorage.events import Event, envelope
from moorage.events.timestamp import rfc3339_nano

MEDIA_TYPES = {
    "v1": "application/vnd.docker.distribution.events.v1+json",
    "v2": "application/vnd.docker.distribution.events.v2+json",
}
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body."""

    media_type: str
    content: bytes


def body_of(endpoint: Endpoint, events: Sequence[Event]) -> Body:
    """The body that tells an endpoint of these events, as it wants to hear of them."""
    if endpoint.format == "distribution":
        return Body(MEDIA_TYPES[endpoint.mediatype], envelope(events))
    documents = [cloud_event(event) for event in events]
    # An endpoint with batches gets all in one form, however many there are.
    if endpoint.batch.events > 1:
        return Body(CLOUD_EVENTS, _json(documents))
    return Body(CLOUD_EVENT, _json(documents[0]))


def message_id(events: Sequence[Event]) -> str:
    """What a request is known by, the same whenever the same events are sent; one event's is its own id."""
    if len(events) == 1:
        return events[0].id
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(event.id for event in events)))


def cloud_event(event: Event) -> dict[str, Any]:
    """An event as a CloudEvent; distribution's document is its data."""
    target = event.target
    subject = target.repository
    if target.tag:
        subject += f":{target.tag}"
    elif target.digest:
        subject += f"@{target.digest}"
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"//{quote(event.source.addr or 'registry', safe=':[]')}",
        "type": f"moorage.registry.{event.action}",
        "subject": subject,
        "time": rfc3339_nano(event.timestamp),
        "datacontenttype": "application/json",
        "data": event.document(),
    }


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
