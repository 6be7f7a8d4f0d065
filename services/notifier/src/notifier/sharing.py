"""How several notifiers divide the endpoints: each takes as many as there are for one of them.

Each notifier keeps an entry beside the leases, which goes when it does. Their number says how many endpoints
are one's share; who has more gives some up, who has less takes what is free. An endpoint that nobody takes,
because notifiers differ in their configuration, goes to whoever sees it free for long.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.errors import APIError
from nats.js.kv import KeyValue

from notifier.names import LEASE_BUCKET

log = structlog.get_logger("notifier.sharing")

# Renewals of the entry within the time of a take-over.
_RENEWALS = 5

_KEY_PREFIX = "notifier."
_STREAM = f"KV_{LEASE_BUCKET}"
_SUBJECT_PREFIX = f"$KV.{LEASE_BUCKET}."


class Holding:
    """One endpoint that this notifier delivers to. `given_up` is set when another one is to have it."""

    def __init__(self, *, counts: bool) -> None:
        self.counts = counts
        """Whether it is of the share; an endpoint that nobody else took is not, and not given up."""

        self.given_up = asyncio.Event()


class Share:
    """What this notifier, which is called `name`, may have of `endpoints`."""

    def __init__(
        self, jetstream: JetStreamContext, bucket: KeyValue, name: str, takeover: float, endpoints: int
    ) -> None:
        self._jetstream = jetstream
        self._bucket = bucket
        self._key = f"{_KEY_PREFIX}{name}"
        self._takeover = takeover
        self._endpoints = endpoints
        self._notifiers = 1
        self._holdings: list[Holding] = []
        self.turn = asyncio.Lock()
        """To be held between a look at `has_room` and `take`."""

    @property
    def has_room(self) -> bool:
        """Whether this notifier may take one more endpoint."""
        return self._counted < self._most

    @property
    def _counted(self) -> int:
        return sum(holding.counts for holding in self._holdings)

    @property
    def _most(self) -> int:
        return math.ceil(self._endpoints / self._notifiers)

    def take(self, *, counts: bool) -> Holding:
        """An endpoint is this notifier's now."""
        holding = Holding(counts=counts)
        self._holdings.append(holding)
        return holding

    def give_back(self, holding: Holding) -> None:
        """It is not any more."""
        self._holdings.remove(holding)

    async def join(self) -> None:
        """Be counted, and count; raises nats.errors.Error or TimeoutError."""
        await self._bucket.put(self._key, b"")
        info = await self._jetstream.stream_info(_STREAM, subjects_filter=f"{_SUBJECT_PREFIX}{_KEY_PREFIX}*")
        found = max(1, len(info.state.subjects or {}))
        if found != self._notifiers:
            log.info("notifiers share the endpoints", notifiers=found, endpoints=self._endpoints)
        self._notifiers = found

    async def keep(self) -> None:
        """Be counted from now on, and give up what is too much, until cancelled."""
        while True:
            await asyncio.sleep(self._takeover / _RENEWALS)
            try:
                await self.join()
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.debug("the other notifiers could not be counted", reason=str(error))
                continue
            kept = [each for each in self._holdings if each.counts and not each.given_up.is_set()]
            for holding in kept[self._most :]:
                holding.given_up.set()

    async def leave(self) -> None:
        """Be counted no more, at once."""
        # Without it the entry goes by itself.
        with suppress(nats.errors.Error, APIError, OSError, TimeoutError):
            await self._jetstream.purge_stream(_STREAM, subject=f"{_SUBJECT_PREFIX}{self._key}")
