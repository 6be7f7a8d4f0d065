"""What publishes events, put together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import structlog

from api_gateway.events.listener import Listener, Silent
from api_gateway.events.metrics import OUTBOX_AGE, OUTBOX_BYTES, OUTBOX_EVENTS
from api_gateway.events.outbox import Outbox, OutboxError, SharedState, prepare_folder
from api_gateway.health import Check, CheckFailedError
from moorage.config import Configuration, ConfigurationError, data_dir
from moorage.workers import is_first_worker

log = structlog.get_logger("api_gateway.events")

_PATH = "notifications.outbox.path"

# Seconds, and probes that find something before it is said: the outbox may be in use for a moment.
_CHECK_INTERVAL = 1.0
_CHECK_THRESHOLD = 3

# Seconds.
_RESTART = 1.0


@asynccontextmanager
async def event_listener(config: Configuration) -> AsyncIterator[Listener]:
    """The listener of a configuration while the context is open; at the end it publishes what it has.

    Raises ConfigurationError when there is no outbox where there must be one.
    """
    if not config.notifications.publishes:
        yield Silent()
        return
    # Only here: a gateway that publishes nothing does not pay for NATS' client.
    from api_gateway.events.bridge import Bridge, source_of
    from api_gateway.events.drain import Drain
    from api_gateway.events.link import Link
    from api_gateway.events.publisher import Publisher
    from api_gateway.events.pulls import Pulls

    limits = config.notifications.outbox
    folder = outbox_folder(config)
    async with AsyncExitStack() as stack:
        try:
            outbox = await Outbox.open(folder)
        except (OutboxError, OSError) as error:
            raise ConfigurationError(_PATH, f"cannot be used: {error}") from error
        stack.push_async_callback(outbox.close)
        if is_first_worker(os.environ):
            stack.enter_context(_told(outbox))
        link = Link(config)
        await stack.enter_async_context(_running(link.run))
        await stack.enter_async_context(_running(Drain(link, outbox, folder).run))
        pulls = Pulls(link, outbox, limits)
        stack.push_async_callback(pulls.close)
        await stack.enter_async_context(_running(pulls.run))
        publisher = Publisher(link, outbox, limits)
        yield Bridge(publisher, pulls, source_of(config), config.notifications.events)


def outbox_checks(config: Configuration) -> list[Check]:
    """The check of the outbox, where there is one. Raises ConfigurationError when there cannot be one."""
    if not config.notifications.publishes:
        return []
    folder = outbox_folder(config)
    try:
        prepare_folder(folder)
        state = SharedState(folder)
    except OSError as error:
        raise ConfigurationError(_PATH, f"cannot be used: {error}") from error
    limits = config.notifications.outbox

    async def probe() -> None:
        found = state.read()
        if not found.events:
            return
        waiting = f"{found.events} events wait in the outbox for NATS, the oldest for {found.age:.0f} s"
        if found.events >= limits.maxevents or found.bytes >= limits.maxbytes:
            raise CheckFailedError(f"{waiting}; it is full, and changes are refused")
        raise CheckFailedError(waiting)

    return [Check("outbox", probe, _CHECK_INTERVAL, _CHECK_THRESHOLD, vital=False)]


def outbox_folder(config: Configuration) -> Path:
    """Where the outbox is."""
    path = config.notifications.outbox.path
    return Path(path).absolute() if path else data_dir(os.environ) / "outbox"


@contextmanager
def _told(outbox: Outbox) -> Iterator[None]:
    """Tell Prometheus of the outbox while the context is open."""
    OUTBOX_EVENTS.set_function(lambda: outbox.state.events)
    OUTBOX_BYTES.set_function(lambda: outbox.state.bytes)
    OUTBOX_AGE.set_function(lambda: outbox.state.age)
    try:
        yield
    finally:
        for gauge in (OUTBOX_EVENTS, OUTBOX_BYTES, OUTBOX_AGE):
            gauge.set_function(lambda: 0)


@asynccontextmanager
async def _running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do it in the background while the context is open."""
    task = asyncio.create_task(_kept_up(work))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _kept_up(work: Callable[[], Awaitable[None]]) -> None:
    """Do it again when it breaks: without it no event would ever go out."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("unexpected error where events are published")
        await asyncio.sleep(_RESTART)
