"""Messages to JetStream, acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import nats.errors

from api_gateway.events.message import Message
from api_gateway.events.metrics import CONNECTED
from moorage.config import Configuration
from moorage.events.broker import Broker
from moorage.events.broker_url import BrokerURL
from moorage.events.subjects import STREAM

_AWAY = "NATS is not reachable"
_SILENT = "NATS did not acknowledge in time"


class Link:
    """A connection to the event stream. One that does not acknowledge in time is given up for a fresh one."""

    def __init__(self, config: Configuration) -> None:
        url = BrokerURL.parse(config.services.nats.url)
        self._broker = Broker(url, "gateway", config.notifications.stream, self._changed)
        self._unacknowledged: set[asyncio.Future[Any]] = set()
        self.came = asyncio.Event()
        """Set while the stream is there."""

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        await self._broker.run(asyncio.Event())

    @property
    def is_up(self) -> bool:
        """Whether the stream is there, as far as is known."""
        return self.came.is_set()

    async def publish(self, message: Message, timeout: float) -> str | None:
        """Hand over a message; None when the stream has it, else why that is not known."""
        return (await self.publish_all([message], timeout))[0]

    async def publish_all(self, messages: Sequence[Message], timeout: float) -> list[str | None]:
        """Hand over messages one after the other, then wait for what JetStream says, `timeout` s in all.

        For each None when the stream has it, else why that is not known: it may be there nevertheless, so it
        is repeated under its id.
        """
        jetstream = self._broker.jetstream
        if jetstream is None:
            return [_AWAY] * len(messages)
        sent: list[asyncio.Future[Any]] = []
        in_time = True
        failure = _SILENT
        try:
            async with asyncio.timeout(timeout):
                for message in messages:
                    acknowledged = await jetstream.publish_async(
                        message.subject, message.body, stream=STREAM, headers=message.headers
                    )
                    self._unacknowledged.add(acknowledged)
                    acknowledged.add_done_callback(self._unacknowledged.discard)
                    sent.append(acknowledged)
                await asyncio.wait(sent)
        except TimeoutError:
            in_time = False
        except (OSError, nats.errors.Error) as error:
            failure = str(error) or type(error).__name__
        finally:
            outcomes = [_outcome(acknowledged) for acknowledged in sent]
        if not in_time and jetstream is self._broker.jetstream:
            self._broker.give_up(_SILENT)
        return [*outcomes, *[failure] * (len(messages) - len(outcomes))]

    async def _changed(self, is_there: bool) -> None:
        CONNECTED.set(is_there)
        if is_there:
            self.came.set()
            return
        self.came.clear()
        # Nobody is left who could acknowledge.
        for acknowledged in list(self._unacknowledged):
            acknowledged.cancel()


def _outcome(acknowledged: asyncio.Future[Any]) -> str | None:
    if not acknowledged.done():
        acknowledged.cancel()
        return _SILENT
    if acknowledged.cancelled():
        return _AWAY
    error = acknowledged.exception()
    return None if error is None else str(error) or type(error).__name__
