"""What empties the outbox when the stream is there.

One process at a time, whoever has the lock. Events go in the order in which they were put there: of one
repository the next one when JetStream has acknowledged the last, those of several repositories at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from api_gateway.events.link import Link
from api_gateway.events.message import Message
from api_gateway.events.metrics import DRAINED
from api_gateway.events.outbox import Outbox, OutboxError

log = structlog.get_logger("api_gateway.events")

_LOCK = "drain.lock"

# Seconds between looks at whether something is there that another process has put there.
_LOOK = 0.1

# Events that are read, and taken out, at once.
_BATCH = 256

# Seconds that JetStream has to acknowledge one: more than for a change, for nobody waits.
_DEADLINE = 5.0

# Seconds until the next attempt.
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 2.0


class Drain:
    """Moves events from the outbox in a folder to the stream."""

    def __init__(self, link: Link, outbox: Outbox, folder: Path) -> None:
        self._link = link
        self._outbox = outbox
        self._lock = folder / _LOCK

    async def run(self) -> None:
        """Drain whenever there is something to drain, until cancelled."""
        delay = _FIRST_DELAY
        while True:
            await self._link.came.wait()
            if self._outbox.is_empty:
                await asyncio.sleep(_LOOK)
                continue
            try:
                well = await self._drain()
            except (OutboxError, OSError) as error:
                log.error(  # noqa: TRY400  the reason is in words
                    "the outbox cannot be drained", reason=str(error)
                )
                well = False
            delay = _FIRST_DELAY if well else min(delay * 2, _LONGEST_DELAY)
            await asyncio.sleep(delay)

    async def _drain(self) -> bool:
        """Drain as far as it goes; False when JetStream did not take something."""
        with _locked(self._lock) as mine:
            if not mine:
                # Another process does it.
                return True
            drained = 0
            well = True
            while well and self._link.is_up and (rows := await self._outbox.first(_BATCH)):
                sent = await self._send(rows)
                await self._outbox.remove(sent)
                DRAINED.inc(len(sent))
                drained += len(sent)
                well = len(sent) == len(rows)
        if drained:
            log.info(
                "events went from the outbox to the stream", events=drained, left=self._outbox.state.events
            )
        return well

    async def _send(self, rows: Sequence[tuple[int, Message]]) -> list[int]:
        """The positions of those that the stream has."""
        lanes: dict[str, list[tuple[int, Message]]] = {}
        for row in rows:
            lanes.setdefault(row[1].repository, []).append(row)
        sent = await asyncio.gather(*map(self._send_in_order, lanes.values()))
        return [position for positions in sent for position in positions]

    async def _send_in_order(self, rows: Sequence[tuple[int, Message]]) -> list[int]:
        sent: list[int] = []
        for position, message in rows:
            reason = await self._link.publish(message, _DEADLINE)
            if reason is not None:
                log.warning("an event stays in the outbox", event=message.id, reason=reason)
                break
            sent.append(position)
        return sent


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the lock could be had; it is held while the context is open and the process lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
