"""Reading a stream from outside: what is in it, and what comes, without changing anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

# Messages that are asked for at a time, and seconds that a question stays open.
_BATCH = 256
_PULL = 5.0

# Seconds after which the broker forgets a reader that asks no more.
_FORGOTTEN_AFTER = 60.0


async def read(
    jetstream: JetStreamContext,
    stream: str,
    subject: str,
    *,
    since: float | None = None,
    existing: bool = True,
    follow: bool = False,
) -> AsyncIterator[Msg]:
    """The messages of a stream under a subject, in order.

    Those that are there (`existing`), from `since` (seconds since the epoch) on if it is given; with `follow`
    also those that come, without an end. Nothing when there is no such stream. Raises nats.errors.Error.
    """
    policy, start = DeliverPolicy.ALL if existing else DeliverPolicy.NEW, None
    if existing and since is not None:
        policy, start = DeliverPolicy.BY_START_TIME, datetime.fromtimestamp(since, UTC)
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=policy,
        opt_start_time=start,
        inactive_threshold=_FORGOTTEN_AFTER,
        mem_storage=True,
    )
    try:
        subscription = await jetstream.pull_subscribe(subject, stream=stream, config=config)
    except NotFoundError:
        return
    reader = ""
    try:
        info = await subscription.consumer_info()
        reader, left = info.name, info.num_pending or 0
        while follow or left:
            try:
                messages = await subscription.fetch(_BATCH, timeout=_PULL)
            except nats.errors.TimeoutError:
                if not jetstream._nc.is_connected:
                    raise nats.errors.ConnectionClosedError from None
                left = (await subscription.consumer_info()).num_pending or 0
                continue
            for message in messages:
                left = message.metadata.num_pending or 0
                yield message
    finally:
        with suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
            await jetstream.delete_consumer(stream, reader)
