"""The JetStream stream that registry events live in until each endpoint has them.

Gateways and the notifier make it, whoever comes first. An operator may have made the stream beforehand with
limits, replicas and placement of their own. What is there is checked and never changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import BadRequestError, NotFoundError

from moorage.config.events import Stream
from moorage.events.subjects import LARGEST_MESSAGE, STREAM, SUBJECTS

# JetStream's error code for a stream that another client made a moment ago, with other settings.
NAME_IN_USE = 10058


class UnusableStreamError(Exception):
    """The stream is there, and events would be lost in it. `str()` says why."""


# Seconds within which a publisher may repeat itself, after an outage say, and the event stands there once.
DUPLICATE_WINDOW = 600.0


def configuration(limits: Stream) -> StreamConfig:
    """The stream as it is made when there is none; `limits` is `notifications.stream`.

    An endpoint that is away for longer than an event stays misses it.
    """
    return StreamConfig(
        name=STREAM,
        description="Registry events on their way to webhooks",
        subjects=[SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=limits.maxage,
        max_bytes=limits.maxbytes,
        # Never longer than events stay, which JetStream refuses.
        duplicate_window=min(DUPLICATE_WINDOW, limits.maxage),
        num_replicas=limits.replicas,
    )


async def ensure_stream(jetstream: JetStreamContext, limits: Stream) -> StreamInfo:
    """The stream, made with `limits` (`notifications.stream`) if it was not there.

    Raises UnusableStreamError when what is there would lose events, and TimeoutError or nats.errors.Error
    when the broker does not answer or does not allow it.
    """
    info = await found_or_made(jetstream, configuration(limits))
    check(info.config)
    return info


async def found_or_made(jetstream: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    """The stream of that name as it is, made as `wanted` if it was not there.

    Raises TimeoutError or nats.errors.Error.
    """
    name = str(wanted.name)
    try:
        return await jetstream.stream_info(name)
    except NotFoundError:
        pass
    try:
        return await jetstream.add_stream(wanted)
    except BadRequestError as error:
        if error.err_code != NAME_IN_USE:
            raise
    return await jetstream.stream_info(name)


def check(found: StreamConfig) -> None:
    """Refuse a stream that events would get lost in; raises UnusableStreamError."""
    if not covers(found.subjects or (), SUBJECTS):
        raise UnusableStreamError(f"stream {STREAM} does not take the subjects {SUBJECTS}")
    if StorageType(found.storage) is not StorageType.FILE:
        raise UnusableStreamError(
            f"stream {STREAM} is kept in memory: a restart of the broker would empty it"
        )
    if found.no_ack:
        raise UnusableStreamError(
            f"stream {STREAM} acknowledges nothing (no_ack): a publisher cannot be sure"
        )
    if found.max_msg_size is not None and 0 <= found.max_msg_size < LARGEST_MESSAGE:
        raise UnusableStreamError(
            f"stream {STREAM} takes messages of {found.max_msg_size} bytes at most; "
            f"events need {LARGEST_MESSAGE}"
        )
    if found.sealed:
        raise UnusableStreamError(f"stream {STREAM} is sealed: it takes no event")


def covers(subjects: Sequence[str], wanted: str) -> bool:
    """Whether one of the stream's subjects takes all that `wanted`, which ends with `>`, stands for."""
    return any(_covers(subject.split("."), wanted.split(".")) for subject in subjects)


def _covers(pattern: Sequence[str], wanted: Sequence[str]) -> bool:
    for part, wish in zip(pattern, wanted, strict=False):
        if part == ">":
            return True
        if wish == ">" or part not in {"*", wish}:
            return False
    return False
