"""What the broker knows of each endpoint, whichever notifier delivers to it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from moorage.config.endpoints import Endpoint
from moorage.events.subjects import DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECTS, STREAM
from notifier.names import (
    ENDPOINT_METADATA,
    LEASE_BUCKET,
    REPLAY_STREAM,
    consumer_name,
    consumer_of_subject,
    is_consumer_name,
)
from notifier.place import pending


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint that has, or had, a place in the stream."""

    name: str
    consumer: str
    state: str
    """`delivering`, `failing`, `waiting` (for a notifier) or `disabled`."""

    url: str
    holder: str
    """The notifier that delivers to it; empty when none does."""

    failures: int
    """In a row."""

    reason: str
    """Of the last failure, while it fails."""

    pending: int
    """Events that it does not have yet."""

    replays: int
    """Of those that are to be told once more."""

    dead_letters: int


async def endpoint_states(
    jetstream: JetStreamContext, configured: Iterable[Endpoint] = ()
) -> list[EndpointState]:
    """All endpoints that the broker or the configuration knows, by name.

    Raises nats.errors.Error or TimeoutError.
    """
    places = await _places(jetstream, STREAM)
    replays = await _places(jetstream, REPLAY_STREAM)
    dead = await _dead_letters(jetstream)
    bucket = await _bucket(jetstream)
    known = {name: _endpoint_name(info) for name, info in places.items()}
    disabled = set()
    for endpoint in configured:
        known.setdefault(consumer_name(endpoint.name), endpoint.name)
        if endpoint.disabled:
            disabled.add(endpoint.name)
    found = []
    for consumer, name in sorted(known.items(), key=lambda item: item[1]):
        lease = await _lease(bucket, consumer)
        state = "failing" if lease.get("breaker") == "open" else "delivering" if lease else "waiting"
        found.append(
            EndpointState(
                name=name,
                consumer=consumer,
                state="disabled" if name in disabled and not lease else state,
                url=str(lease.get("url", "")),
                holder=str(lease.get("holder", "")),
                failures=int(lease.get("failures", 0)),
                reason=str(lease.get("reason", "")),
                pending=_pending(places.get(consumer)),
                replays=_pending(replays.get(consumer)),
                dead_letters=dead.get(consumer, 0),
            )
        )
    return found


async def _places(jetstream: JetStreamContext, stream: str) -> dict[str, ConsumerInfo]:
    """The endpoints' consumers of a stream, by name; none when there is no such stream."""
    found: dict[str, ConsumerInfo] = {}
    offset = 0
    while True:
        try:
            page = await jetstream.consumers_info(stream, offset)
        except NotFoundError:
            return {}
        if not page:
            return found
        offset += len(page)
        found.update({info.name: info for info in page if is_consumer_name(info.name)})


def _endpoint_name(info: ConsumerInfo) -> str:
    return (info.config.metadata or {}).get(ENDPOINT_METADATA, info.name)


def _pending(info: ConsumerInfo | None) -> int:
    return 0 if info is None else pending(info)


async def _dead_letters(jetstream: JetStreamContext) -> dict[str, int]:
    """How many there are, by consumer."""
    try:
        info = await jetstream.stream_info(DEAD_LETTER_STREAM, subjects_filter=DEAD_LETTER_SUBJECTS)
    except NotFoundError:
        return {}
    return {consumer_of_subject(subject): count for subject, count in (info.state.subjects or {}).items()}


async def _bucket(jetstream: JetStreamContext) -> KeyValue | None:
    try:
        return await jetstream.key_value(LEASE_BUCKET)
    except BucketNotFoundError:
        return None


async def _lease(bucket: KeyValue | None, consumer: str) -> dict[str, Any]:
    """What the holder says; empty when there is none."""
    if bucket is None:
        return {}
    try:
        said = json.loads((await bucket.get(consumer)).value or b"{}")
    except (KeyNotFoundError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
