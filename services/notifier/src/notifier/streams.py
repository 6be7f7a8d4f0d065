"""The notifier's own streams: dead letters, replays, who delivers to which endpoint, and how far each is.

Like the event stream, each is made when it is not there, and left as an operator made it when it is.
"""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, BucketNotFoundError
from nats.js.kv import KeyValue

from moorage.config.notifications import Notifications
from moorage.events.stream import NAME_IN_USE, found_or_made
from moorage.events.subjects import DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECTS
from notifier.names import (
    FORGOTTEN_AFTER,
    LEASE_BUCKET,
    PLACE_BUCKET,
    REPLAY_STREAM,
    REPLAY_SUBJECTS,
)


async def ensure_own_streams(jetstream: JetStreamContext, notifications: Notifications) -> None:
    """Make the streams of dead letters and of replays; raises nats.errors.Error or TimeoutError."""
    limits = notifications.deadletters
    for stream in (
        StreamConfig(
            name=DEAD_LETTER_STREAM,
            description="Registry events that an endpoint could not be told",
            subjects=[DEAD_LETTER_SUBJECTS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=limits.maxage,
            max_bytes=limits.maxbytes,
            num_replicas=notifications.stream.replicas,
        ),
        StreamConfig(
            name=REPLAY_STREAM,
            description="Registry events that one endpoint is to be told once more",
            subjects=[REPLAY_SUBJECTS],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_age=notifications.stream.maxage,
            max_bytes=notifications.stream.maxbytes,
            num_replicas=notifications.stream.replicas,
        ),
    ):
        await found_or_made(jetstream, stream)


async def lease_bucket(
    jetstream: JetStreamContext, notifications: Notifications, takeover: float
) -> KeyValue:
    """The bucket of leases, whose entries go after `takeover` seconds; made, or changed, if need be.

    Raises nats.errors.Error or TimeoutError.
    """
    return await _bucket(
        jetstream, LEASE_BUCKET, "Which notifier delivers to which endpoint", notifications, takeover
    )


async def place_bucket(jetstream: JetStreamContext, notifications: Notifications) -> KeyValue:
    """The bucket of bookmarks, which stay as long as places do; made if need be.

    Raises nats.errors.Error or TimeoutError.
    """
    return await _bucket(
        jetstream,
        PLACE_BUCKET,
        "How far each endpoint is in the event stream",
        notifications,
        FORGOTTEN_AFTER,
    )


async def _bucket(
    jetstream: JetStreamContext, name: str, description: str, notifications: Notifications, ttl: float
) -> KeyValue:
    wanted = KeyValueConfig(
        bucket=name,
        description=description,
        history=1,
        ttl=ttl,
        storage=StorageType.FILE,
        replicas=notifications.stream.replicas,
    )
    try:
        bucket = await jetstream.key_value(name)
    except BucketNotFoundError:
        try:
            return await jetstream.create_key_value(wanted)
        except BadRequestError as error:
            if error.err_code != NAME_IN_USE:
                raise
            bucket = await jetstream.key_value(name)
    found = (await jetstream.stream_info(f"KV_{name}")).config
    if found.max_age != ttl:
        await jetstream.update_stream(found.evolve(max_age=ttl, duplicate_window=min(ttl, 120.0)))
    return bucket
