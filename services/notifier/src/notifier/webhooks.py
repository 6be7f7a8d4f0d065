"""All endpoints of the configuration, each delivered to by itself."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from moorage.config import Configuration
from moorage.config.endpoints import Endpoint
from moorage.config.notifications import Notifications
from notifier.bookmarks import Bookmarks
from notifier.breaker import Breaker
from notifier.concurrency import cancelled
from notifier.connections import tls_context
from notifier.delivery import Delivery
from notifier.http_sink import HTTPSink
from notifier.leases import Lease
from notifier.names import consumer_name
from notifier.place import Done, PlaceLostError
from notifier.sharing import Share
from notifier.statistics import Statistics
from notifier.streams import ensure_own_streams, lease_bucket, place_bucket

log = structlog.get_logger("notifier")

# A lease lasts for at least this many of an endpoint's longest attempt.
_ATTEMPTS_WITHIN_TAKEOVER = 2

# Seconds until what failed is begun again.
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0

# Seconds between two looks whether the notifier's own streams are there.
CHECK_INTERVAL = 5.0

_REDACTED = "<redacted>"


@dataclass(frozen=True, slots=True)
class Buckets:
    """What notifiers share: who delivers to which endpoint, and how far each endpoint is."""

    leases: KeyValue
    places: KeyValue


class Webhook:
    """One endpoint of this notifier, over all connections to the broker."""

    def __init__(
        self, endpoint: Endpoint, *, allow_private: bool, tls: ssl.SSLContext, takeover: float, holder: str
    ) -> None:
        self.endpoint = endpoint
        self.statistics = Statistics(endpoint.name)
        self.breaker = Breaker(
            threshold=endpoint.threshold, backoff=endpoint.backoff, longest=endpoint.maxbackoff
        )
        self.sink = HTTPSink(endpoint, allow_private=allow_private, tls=tls)
        self._takeover = takeover
        self._holder = holder
        self._done: dict[str, Done] = {}

    async def deliver(
        self,
        jetstream: JetStreamContext,
        buckets: Buckets,
        share: Share,
        ending: asyncio.Event,
        changed: Callable[[], None],
    ) -> None:
        """Deliver, or wait for the lease, until `ending` is set."""
        pause = _FIRST_PAUSE
        while not ending.is_set():
            lease = Lease(buckets.leases, consumer_name(self.endpoint.name), self._takeover, self._state)
            try:
                holding = await lease.acquire(ending, share)
                if holding is None:
                    return
                log.info("delivering", endpoint=self.endpoint.name)
                try:
                    await Delivery(
                        self.endpoint,
                        self.sink,
                        self.breaker,
                        self.statistics,
                        self._done,
                        jetstream,
                        lease,
                        Bookmarks(buckets.places),
                        self._takeover,
                        changed,
                    ).run(ending, holding.given_up)
                finally:
                    share.give_back(holding)
                    await lease.release()
                pause = _FIRST_PAUSE
            except PlaceLostError:
                log.warning("an endpoint's place in the stream was deleted", endpoint=self.endpoint.name)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                if not ending.is_set():
                    reason = str(error) or type(error).__name__
                    log.warning("delivery was interrupted", endpoint=self.endpoint.name, reason=reason)
            except Exception:
                # One endpoint's trouble is not the others'.
                log.exception("delivery broke; beginning again", endpoint=self.endpoint.name)
            try:
                async with asyncio.timeout(pause):
                    await ending.wait()
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_PAUSE)

    def document(self) -> dict[str, Any]:
        """The endpoint as distribution shows it in `/debug/vars`, without what is secret."""
        endpoint = self.endpoint
        return {
            "name": endpoint.name,
            "url": _shown(endpoint.url),
            "Headers": {name: [_REDACTED] * len(lines) for name, lines in endpoint.headers.items()},
            "Timeout": int(endpoint.timeout * 1e9),
            "Threshold": endpoint.threshold,
            "Backoff": int(endpoint.backoff * 1e9),
            "IgnoredMediaTypes": sorted(endpoint.ignored_media_types),
            "Ignore": {
                "MediaTypes": list(endpoint.ignore.mediatypes),
                "Actions": list(endpoint.ignore.actions),
            },
            "Metrics": self.statistics.document(),
        }

    def _state(self) -> dict[str, Any]:
        """What others may read beside the lease."""
        return {
            "endpoint": self.endpoint.name,
            "holder": self._holder,
            "breaker": "open" if self.breaker.is_open else "closed",
            "failures": self.breaker.failures,
            "url": _shown(self.endpoint.url),
            "reason": self.statistics.last_failure,
        }


class Webhooks:
    """The enabled endpoints. Use it as an asynchronous context manager around any number of connections.

    `report` is told whether all of them take events.
    """

    def __init__(self, config: Configuration, report: Callable[[bool], Awaitable[None]]) -> None:
        """Raises ConfigurationError for certificates that cannot be read."""
        self._notifications = config.notifications
        self._report = report
        self._takeover = takeover(config.notifications)
        holder = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self.all = [
            Webhook(
                endpoint,
                allow_private=config.notifications.allows_private(endpoint),
                tls=tls_context(endpoint.tls, f"notifications.endpoints[{index}].tls"),
                takeover=self._takeover,
                holder=holder,
            )
            for index, endpoint in enumerate(config.notifications.endpoints)
            if not endpoint.disabled
        ]
        self._sinks = AsyncExitStack()
        self._ending = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        for webhook in self.all:
            await self._sinks.enter_async_context(webhook.sink)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._sinks.aclose()

    async def start(self, jetstream: JetStreamContext) -> None:
        """Deliver over this connection from now on."""
        await self.stop()
        if self.all:
            self._ending = asyncio.Event()
            self._work = asyncio.create_task(self._deliver(jetstream, self._ending))

    async def stop(self) -> None:
        """Let attempts under way end, give back the rest, and leave the endpoints to others."""
        if self._work is not None:
            self._ending.set()
            await self._work
            self._work = None

    @property
    def failing(self) -> list[str]:
        """The endpoints that are given up for the moment."""
        return [webhook.endpoint.name for webhook in self.all if webhook.breaker.is_open]

    def document(self) -> dict[str, Any]:
        """`registry.notifications` as distribution shows it in `/debug/vars`."""
        return {"endpoints": [webhook.document() for webhook in self.all]}

    async def _deliver(self, jetstream: JetStreamContext, ending: asyncio.Event) -> None:
        buckets = await self._opened(jetstream, ending)
        if buckets is None:
            return
        share = Share(jetstream, buckets.leases, uuid.uuid4().hex, self._takeover, len(self.all))
        meanwhile = [
            asyncio.create_task(self._reporting()),
            asyncio.create_task(self._looking_after(jetstream, ending)),
            asyncio.create_task(share.keep()),
        ]
        try:
            with suppress(nats.errors.Error, OSError, TimeoutError):
                await share.join()  # else it is, a moment later
            await asyncio.gather(
                *(
                    webhook.deliver(jetstream, buckets, share, ending, self._changed.set)
                    for webhook in self.all
                )
            )
        finally:
            await cancelled(meanwhile)
            await share.leave()

    async def _looking_after(self, jetstream: JetStreamContext, ending: asyncio.Event) -> None:
        """Make again what somebody deletes; deliveries that failed without it begin again by themselves."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            await self._opened(jetstream, ending)

    async def _opened(self, jetstream: JetStreamContext, ending: asyncio.Event) -> Buckets | None:
        """The buckets, once everything that delivery needs is there; None when it is over before."""
        complained = False
        while not ending.is_set():
            try:
                await ensure_own_streams(jetstream, self._notifications)
                return Buckets(
                    await lease_bucket(jetstream, self._notifications, self._takeover),
                    await place_bucket(jetstream, self._notifications),
                )
            except (nats.errors.Error, OSError, TimeoutError) as error:
                if not complained and not ending.is_set():
                    complained = True
                    reason = str(error) or type(error).__name__
                    log.warning("the notifier's own streams cannot be made; trying again", reason=reason)
            try:
                async with asyncio.timeout(1.0):
                    await ending.wait()
            except TimeoutError:
                continue
        return None

    async def _reporting(self) -> None:
        while True:
            self._changed.clear()
            await self._report(not self.failing)
            await self._changed.wait()


def takeover(notifications: Notifications) -> float:
    """Seconds after which a silent notifier is replaced: long enough for any attempt of its to have ended."""
    longest = max((endpoint.timeout for endpoint in notifications.endpoints), default=0.0)
    return max(notifications.takeover, _ATTEMPTS_WITHIN_TAKEOVER * longest)


def _shown(url: str) -> str:
    """A URL without its query, where secrets are often put."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=_REDACTED if parts.query else ""))
