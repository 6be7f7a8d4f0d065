"""What endpoints and streams are called in JetStream."""

from __future__ import annotations

import hashlib
import re

REPLAY_STREAM = "REGISTRY_REPLAYS"
REPLAY_SUBJECTS = "registry.replays.>"

LEASE_BUCKET = "REGISTRY_NOTIFIERS"

# Where each endpoint was last, should its consumer be lost.
PLACE_BUCKET = "REGISTRY_PLACES"

# The broker forgets where an endpoint is that nobody has asked for events of in this time, seconds.
FORGOTTEN_AFTER = 30 * 24 * 60 * 60.0

# What the consumer of an endpoint says of itself.
ENDPOINT_METADATA = "moorage.endpoint"

# Headers of a dead letter.
ENDPOINT_HEADER = "Moorage-Endpoint"
REASON_HEADER = "Moorage-Reason"
ATTEMPTS_HEADER = "Moorage-Attempts"
STORED_HEADER = "Moorage-Stored"
"""When the event stream took it: seconds since the epoch."""

_PREFIX = "webhook_"
_LONGEST_SLUG = 32
_NOT_IN_SLUG = re.compile(r"[^A-Za-z0-9]+")


def consumer_name(endpoint: str) -> str:
    """The durable consumer of an endpoint, whose name may hold any character.

    A part of a digest keeps names apart that look alike without those characters.
    """
    slug = _NOT_IN_SLUG.sub("-", endpoint).strip("-")[:_LONGEST_SLUG]
    return f"{_PREFIX}{slug}_{hashlib.sha256(endpoint.encode()).hexdigest()[:10]}"


def consumer_of_subject(subject: str) -> str:
    """The consumer of the endpoint that a dead letter, or an event to be told once more, is for."""
    return subject.rpartition(".")[2]


def is_consumer_name(name: str) -> bool:
    """Whether a consumer is an endpoint's."""
    return name.startswith(_PREFIX)


def dead_letter_subject(endpoint: str) -> str:
    """Where an endpoint's dead letters go."""
    return f"registry.dead-letters.{consumer_name(endpoint)}"


def replay_subject(endpoint: str) -> str:
    """Where events go that an endpoint is to be told once more."""
    return replay_subject_of(consumer_name(endpoint))


def replay_subject_of(consumer: str) -> str:
    """The same, of the consumer of an endpoint."""
    return f"registry.replays.{consumer}"
