"""What `notifications` says of events before anybody is told: which there are, and where they are kept.

Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from moorage.config.section import Section
from moorage.config.values import ByteSize, Count, Flag, Seconds, Text

# Source: NATS, "Streams": a stream has at most five replicas.
_MOST_REPLICAS = 5


def _replicas(value: int) -> int:
    if not 1 <= value <= _MOST_REPLICAS:
        raise ValueError(f"must be from 1 to {_MOST_REPLICAS}")
    return value


def _at_least_one(value: int) -> int:
    if value < 1:
        raise ValueError("must be at least 1")
    return value


class Events(Section):
    """`notifications.events`.

    `publish` and `ignorehead` are Moorage's own: to publish although there is no endpoint, for those who
    subscribe on NATS, and to leave out the pulls that were HEAD requests.
    """

    includereferences: Flag = False
    publish: Flag = False
    ignorehead: Flag = False


class Stream(Section):
    """`notifications.stream` (Moorage's own): the limits of the event stream in JetStream."""

    maxage: Annotated[Seconds, AfterValidator(_at_least_one)] = 14 * 86400.0
    maxbytes: Annotated[ByteSize, AfterValidator(_at_least_one)] = 2**30
    replicas: Annotated[Count, AfterValidator(_replicas)] = 1


class Outbox(Section):
    """`notifications.outbox` (Moorage's own): where a gateway keeps events while NATS is away.

    `path` is a folder, "" for `outbox` in the data folder.
    """

    path: Text = ""
    maxevents: Annotated[Count, AfterValidator(_at_least_one)] = 1_000_000
    maxbytes: Annotated[ByteSize, AfterValidator(_at_least_one)] = 2**30
