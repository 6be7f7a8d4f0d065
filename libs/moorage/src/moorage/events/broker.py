"""A connection to NATS that comes back by itself, and the event stream behind it.

Each connection is a session of its own: connect, make sure of the stream, look after both until one is
lost, wait, begin again. Whatever ends a session (the broker is restarted, refuses the credentials for a
while, loses its stream, stops answering) is recovered from in the same way, for as long as the service runs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamInfo

from moorage.config.events import Stream
from moorage.errors import ErrorCode, RegistryError
from moorage.events.broker_url import BrokerURL
from moorage.events.stream import UnusableStreamError, ensure_stream
from moorage.events.subjects import LARGEST_MESSAGE, STREAM

log = structlog.get_logger("moorage.events")

# Seconds.
CONNECT_TIMEOUT = 5.0
API_TIMEOUT = 5.0
CHECK_INTERVAL = 5.0
FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0
CLOSE_TIMEOUT = 5.0


class Broker:
    """Keeps the connection and the stream; `on_change` is told whenever the two are there, or no longer.

    `name` is what the broker calls this client, and `limits` (`notifications.stream`) is for a stream that is
    not there yet.
    """

    def __init__(
        self, url: BrokerURL, name: str, limits: Stream, on_change: Callable[[bool], Awaitable[None]]
    ) -> None:
        self.url = url
        self._name = name
        self._limits = limits
        self._on_change = on_change
        self._jetstream: JetStreamContext | None = None
        self._delay = FIRST_DELAY
        self._complaint = ""
        self._given_up = asyncio.Event()
        self._why = ""

    @property
    def jetstream(self) -> JetStreamContext | None:
        """JetStream, while the stream is there; None in the meantime."""
        return self._jetstream

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the connection until `stop` is set, then close it."""
        while not stop.is_set():
            try:
                async with self._session() as (client_lost, jetstream):
                    await self._look_after(jetstream, client_lost, stop)
            except (OSError, TimeoutError, nats.errors.Error, UnusableStreamError) as error:
                self._complain(_reason(error))
            if await _first(stop, timeout=self._delay):
                return
            self._delay = min(self._delay * 2, LONGEST_DELAY)

    def give_up(self, reason: str) -> None:
        """Take the session for lost, and begin a new one."""
        self._why = reason
        self._given_up.set()

    async def stream_info(self) -> StreamInfo:
        """The stream as the broker has it now; raises RegistryError UNAVAILABLE while there is no broker."""
        if self._jetstream is None:
            raise RegistryError(ErrorCode.UNAVAILABLE, "the event stream is not reachable")
        try:
            return await self._jetstream.stream_info(STREAM)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise RegistryError(ErrorCode.UNAVAILABLE, "the event stream is not reachable") from error

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[tuple[asyncio.Event, JetStreamContext]]:
        client = _Client()
        self._given_up.clear()
        try:
            await client.open(self.url, self._name)
            yield client.lost, client.jetstream(timeout=API_TIMEOUT)
            if client.lost.is_set():
                raise client.failure or ConnectionError("the connection was lost")
            if self._given_up.is_set():
                raise ConnectionError(self._why)
        finally:
            await self._close(client)

    async def _look_after(
        self, jetstream: JetStreamContext, client_lost: asyncio.Event, stop: asyncio.Event
    ) -> None:
        try:
            while True:
                info = await ensure_stream(jetstream, self._limits)
                if self._given_up.is_set():
                    return
                if self._jetstream is None:
                    self._delay, self._complaint = FIRST_DELAY, ""
                    log.info("the event stream is there", nats=str(self.url), messages=info.state.messages)
                    self._jetstream = jetstream
                    await self._on_change(True)
                if await _first(stop, client_lost, self._given_up, timeout=CHECK_INTERVAL):
                    return
        finally:
            if self._jetstream is not None:
                self._jetstream = None
                await self._on_change(False)

    async def _close(self, client: Client) -> None:
        """End the session: flushed when the connection still stands, and never for long."""
        with suppress(OSError, TimeoutError, nats.errors.Error):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if client.is_connected and not self._given_up.is_set():
                    await client.drain()
                else:
                    await client.close()

    def _complain(self, reason: str) -> None:
        """Log why there is no stream: once, not at each attempt."""
        if reason != self._complaint:
            self._complaint = reason
            log.warning("no event stream; trying again", nats=str(self.url), reason=reason)


@asynccontextmanager
async def connected(url: BrokerURL, name: str) -> AsyncIterator[JetStreamContext]:
    """One connection, for a command; raises OSError, whose text says why there is none.

    When it is lost, what is under way on it fails.
    """
    client = _Client()
    try:
        try:
            await client.open(url, name)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise ConnectionError(f"no event stream at {url}: {_reason(error)}") from error
        yield client.jetstream(timeout=API_TIMEOUT)
    finally:
        with suppress(OSError, TimeoutError, nats.errors.Error):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await client.close()


class _Client(Client):
    """One connection, without the library's own reconnection, that never says its password in the clear to `tls://`."""

    def __init__(self) -> None:
        super().__init__()
        self._encrypted = False
        self.failure: Exception | None = None
        """The last one, if there was any."""

        self.lost = asyncio.Event()
        """Set when the connection is closed, by whichever side."""

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Asked for when the connection is being encrypted, and only then."""
        self._encrypted = True
        return super().ssl_context

    async def open(self, url: BrokerURL, name: str) -> None:
        """Connect; raises OSError, TimeoutError or nats.errors.Error."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._open(url, name)
        except nats.errors.NoServersError:
            # The library's own words say only that it gave up; the last failure says why.
            raise self.failure or ConnectionError("not reachable") from None

    async def _open(self, url: BrokerURL, name: str) -> None:
        async def failed(error: Exception) -> None:
            self.failure = error

        async def closed() -> None:
            self.lost.set()

        def secret(value: str | None) -> Callable[[], str] | None:
            def say() -> str:
                self._demand_encryption(url)
                return value or ""

            return None if value is None else say

        await self.connect(
            servers=[str(url)],
            name=f"moorage {name}",
            user=secret(url.user),
            password=secret(url.password),
            token=secret(url.token),
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=failed,
            closed_cb=closed,
        )
        self._demand_encryption(url)
        if self.max_payload < LARGEST_MESSAGE:
            raise ConnectionError(
                f"the broker takes messages of {self.max_payload} bytes at most; "
                f"events need {LARGEST_MESSAGE}: raise its max_payload"
            )

    def _demand_encryption(self, url: BrokerURL) -> None:
        if url.needs_tls and not self._encrypted:
            raise ConnectionError("the broker does not offer TLS, which tls:// demands")


async def _first(*events: asyncio.Event, timeout: float) -> bool:
    """Wait for any of the events; False when `timeout` seconds have passed before."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiters, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
    return bool(done)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
