"""An endpoint's place in a stream: a durable pull consumer, kept by the broker.

The place stays where it is while nobody delivers. A message is acknowledged when the endpoint has it or it
has become a dead letter; until then the broker is told that it is in hand, or hands it out again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from notifier.bookmarks import Bookmark, Bookmarks
from notifier.concurrency import until_one_ends
from notifier.names import ENDPOINT_METADATA, FORGOTTEN_AFTER
from notifier.sequencer import Delivered, Sequencer

log = structlog.get_logger("notifier.place")

# Messages that an endpoint may have in hand; as many wait in memory while it is away.
MOST_HELD = 512

# Messages that are asked for at a time, and seconds that a question stays open.
_BATCH = 256
_PULL = 5.0

# Seconds beyond its end after which a question without an answer is taken for lost.
_SLACK = 2.0

# A new endpoint hears of what happened this many seconds before its place was made: the gateways may have
# read of the endpoint, and acknowledged changes, while the notifier was still starting.
_HEAD_START = 60.0

# A bookmark is written again after so many seconds even if nothing happened, lest it be forgotten.
_REFRESHED_AFTER = 24 * 60 * 60.0

# Sequences that are remembered as done, in case their acknowledgement was lost.
_MOST_REMEMBERED = 8192


class PlaceLostError(Exception):
    """The consumer is gone: somebody deleted it."""


@dataclass(frozen=True, slots=True)
class PlaceName:
    """Where a place is: its stream, its consumer, whose it is, and the subject if not all are for it."""

    stream: str
    consumer: str
    endpoint: str
    subject: str | None = None


def pending(info: ConsumerInfo) -> int:
    """How many messages of the stream a consumer still has to get, or has not acknowledged."""
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


class Done:
    """What was done lately, so that a message that comes again is not sent again."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, datetime], None] = OrderedDict()

    def add(self, sequence: int, stored: datetime) -> None:
        """A message of the stream is done. Its time tells it from one of a stream that was made anew."""
        self._known[sequence, stored] = None
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)

    def __contains__(self, key: tuple[int, datetime]) -> bool:
        return key in self._known


class Message:
    """A message that this place has in hand: the receipt of an event."""

    def __init__(self, place: Place, msg: Msg) -> None:
        meta = msg.metadata
        self._place = place
        self.sequence = meta.sequence.stream
        self.delivery = meta.sequence.consumer
        self.deliveries = meta.num_delivered or 1
        self.stored = meta.timestamp
        self.msg = msg

    def __str__(self) -> str:
        """What tells it from every other message, also of a stream that was made anew."""
        return f"{self._place.name.stream}.{self.sequence}.{self.stored.timestamp():.6f}"

    async def done(self) -> None:
        """It is never to come again. Should the broker not hear of it, it is skipped when it comes."""
        await self._place.done(self)


class Place:
    """One endpoint's place in one stream. `passed_on` gets its messages, in order.

    `takeover` is for how many seconds a message may be in hand without a word; `lost` is told how many
    messages left the stream before their time. `bookmarks` is None where a place that was lost begins anew.
    """

    def __init__(
        self,
        jetstream: JetStreamContext,
        name: PlaceName,
        *,
        takeover: float,
        remaining: Callable[[], float],
        done: Done,
        passed_on: Callable[[Message], None],
        lost: Callable[[int], None],
        bookmarks: Bookmarks | None = None,
    ) -> None:
        self._bookmarks = bookmarks
        self._bookmark = Bookmark("", -1)
        self._bookmarked = 0.0
        self._created = ""
        self._jetstream = jetstream
        self.name = name
        self._takeover = takeover
        self._remaining = remaining
        self._done = done
        self._passed_on = passed_on
        self._lost = lost
        self._sequencer: Sequencer[Message] = Sequencer(1, 0)
        self._last_new = 0
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._asked_for = 0
        self._answered = asyncio.Event()
        self._gone = False
        self._came_back = asyncio.Event()

    async def open(self) -> None:
        """Make the place if it is not there, and get ready to ask; raises nats.errors.Error, TimeoutError."""
        if self._bookmarks is not None:
            self._created = str((await self._jetstream.stream_info(self.name.stream)).created)
        info = await self._ensure()
        delivered = info.delivered.consumer_seq if info.delivered else 0
        self._sequencer = Sequencer(delivered + 1, info.num_ack_pending or 0)
        # What was handed out last; 0 where nothing was yet.
        self._last_new = info.delivered.stream_seq if info.delivered else 0
        client = self._jetstream._nc
        self._inbox = client.new_inbox()
        self._subscription = await client.subscribe(self._inbox, cb=self._take)

    async def run(self) -> None:
        """Ask for messages until cancelled; raises PlaceLostError, nats.errors.Error or TimeoutError."""
        await until_one_ends(self._ask_always(), self._settle())

    async def keep(self) -> None:
        """Tell the broker that what is held is in hand."""
        for message in self._sequencer.held:
            await message.content.msg.in_progress()

    async def info(self) -> ConsumerInfo:
        """The consumer as the broker has it; raises PlaceLostError, nats.errors.Error or TimeoutError."""
        try:
            found: ConsumerInfo = await self._jetstream.consumer_info(self.name.stream, self.name.consumer)
        except NotFoundError as error:
            raise PlaceLostError(self.name.consumer) from error
        return found

    async def bookmark(self, info: ConsumerInfo) -> None:
        """Remember how far this is; raises nats.errors.Error or TimeoutError."""
        if self._bookmarks is None:
            return
        bookmark = Bookmark(self._created, info.ack_floor.stream_seq if info.ack_floor else 0)
        now = time.monotonic()
        if bookmark != self._bookmark or now - self._bookmarked > _REFRESHED_AFTER:
            await self._bookmarks.put(self.name.consumer, bookmark)
            self._bookmark, self._bookmarked = bookmark, now

    async def done(self, message: Message) -> None:
        """Acknowledge a message, or remember to."""
        self._done.add(message.sequence, message.stored)
        latest = self._sequencer.latest(message.sequence)
        self._sequencer.acknowledged(message.sequence)
        with suppress(nats.errors.Error, OSError):
            await (latest.content if latest else message).msg.ack()

    async def close(self) -> None:
        """Give back what is held, so that it is handed out again at once, and ask no more."""
        with suppress(nats.errors.Error, OSError):
            for message in self._sequencer.held:
                await message.content.msg.nak()
            if self._subscription is not None:
                await self._subscription.unsubscribe()

    async def _ensure(self) -> ConsumerInfo:
        name = self.name
        wanted = ConsumerConfig(
            durable_name=name.consumer,
            description=f"Webhook {name.endpoint}"[:200],
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._takeover,
            max_ack_pending=MOST_HELD,
            filter_subject=name.subject,
            inactive_threshold=FORGOTTEN_AFTER,
            metadata={ENDPOINT_METADATA: name.endpoint},
        )
        try:
            info: ConsumerInfo = await self._jetstream.consumer_info(name.stream, name.consumer)
        except NotFoundError:
            made: ConsumerInfo = await self._jetstream.add_consumer(
                name.stream, wanted.evolve(**await self._beginning())
            )
            return made
        if info.config.ack_wait == self._takeover and info.config.max_ack_pending == MOST_HELD:
            return info
        changed = info.config.evolve(ack_wait=self._takeover, max_ack_pending=MOST_HELD)
        adapted: ConsumerInfo = await self._jetstream.add_consumer(name.stream, changed)
        return adapted

    async def _beginning(self) -> dict[str, Any]:
        """Where a consumer begins that is not there."""
        name = self.name
        if self._bookmarks is None:
            return {"deliver_policy": DeliverPolicy.ALL}
        bookmark = await self._bookmarks.get(name.consumer)
        if bookmark is None:
            log.info("a new endpoint has its place in the stream", endpoint=name.endpoint)
            start = datetime.now(UTC) - timedelta(seconds=_HEAD_START)
            return {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": start}
        if bookmark.created != self._created:
            log.error(
                "the stream was made anew; what an endpoint did not have of the old one is lost",
                endpoint=name.endpoint,
                stream=name.stream,
            )
            return {"deliver_policy": DeliverPolicy.ALL}
        log.warning(
            "an endpoint's place in the stream was lost; it goes on where it was last",
            endpoint=name.endpoint,
            after=bookmark.sequence,
        )
        return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": bookmark.sequence + 1}

    async def _ask_always(self) -> None:
        while True:
            await self._ask()

    async def _ask(self) -> None:
        """Ask once, and wait until all has come or the question has run out."""
        # A question must not outlive the lease: what came of it then would be missed elsewhere.
        expires = min(_PULL, self._remaining() - 0.1)
        if expires <= 0:
            await asyncio.sleep(0.05)
            return
        self._asked_for = _BATCH
        self._answered.clear()
        question = {"batch": _BATCH, "expires": int(expires * 1e9)}
        await self._jetstream._nc.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self.name.stream}.{self.name.consumer}",
            json.dumps(question).encode(),
            reply=self._inbox,
        )
        try:
            async with asyncio.timeout(expires + _SLACK):
                await self._answered.wait()
        except TimeoutError:
            await self.info()
        if self._gone:
            self._gone = False
            await self.info()
            await asyncio.sleep(0.1)

    async def _take(self, msg: Msg) -> None:
        """A message, or what the broker says of the question."""
        status = (msg.headers or {}).get("Status")
        if status is not None:
            if status == "100":
                return
            # 404 and 408: nothing more for this question. 409 and 503: the consumer, or its leader, went.
            self._gone = status in {"409", "503"}
            self._answered.set()
            return
        self._asked_for -= 1
        if self._asked_for <= 0:
            self._answered.set()
        message = Message(self, msg)
        if message.deliveries == 1:
            if 0 < self._last_new < message.sequence - 1 and self.name.subject is None:
                self._lost(message.sequence - 1 - self._last_new)
            self._last_new = message.sequence
        delivered = Delivered(message.sequence, message.delivery, message)
        await self._pass_on(self._sequencer.delivered(delivered))
        if self._sequencer.waiting:
            self._came_back.set()

    async def _pass_on(self, ready: list[Delivered[Message]]) -> None:
        for each in ready:
            message = each.content
            if (message.sequence, message.stored) in self._done:
                # It was done, and the broker did not hear of it.
                await self.done(message)
            else:
                self._passed_on(message)

    async def _settle(self) -> None:
        """While messages are out elsewhere, look whether they have come back."""
        since: float | None = None
        while True:
            if not self._sequencer.waiting:
                since = None
                await self._came_back.wait()
            since = since or time.monotonic()
            self._came_back.clear()
            before = self._sequencer.snapshot()
            info = await self.info()
            await self._pass_on(self._sequencer.unacknowledged(info.num_ack_pending or 0, before))
            if not self._sequencer.waiting:
                continue
            if time.monotonic() - since > 4 * self._takeover:
                since = time.monotonic()
                log.warning(
                    "events that another notifier has in hand do not come back; waiting for them",
                    endpoint=self.name.endpoint,
                    events=(info.num_ack_pending or 0) - len(before),
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, self._takeover / 8)):
                    await self._came_back.wait()
