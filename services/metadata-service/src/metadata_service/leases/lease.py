"""One gateway's lease: when it runs out, what the gateway is being told, and what it has confirmed."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from enum import Enum

from moorage.v1 import metadata_pb2


@dataclass(frozen=True, slots=True)
class Revoked:
    """What is about to change. Without tags and digests: all that the repository has.

    A digest stands for what was asked for by it and for what was answered with it.
    """

    repository: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether no answer about the repository remains."""
        return not self.tags and not self.digests


class Outcome(Enum):
    """Why a gateway keeps nothing any more of what was revoked."""

    CONFIRMED = "confirmed"
    # The lease has run out, or was released.
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class _Unconfirmed:
    since: float
    outcome: asyncio.Future[Outcome]


class Lease:
    """A lease, from the first Renew until it was released or has run out, with or without its stream.

    For one event loop. What is unconfirmed, and so the queue to the gateway, is bounded by time: a lease ends
    at most `seconds` after a revocation that its gateway leaves unconfirmed.
    """

    def __init__(self, peer: str, seconds: float, clock: Callable[[], float]) -> None:
        """`peer` is the gateway's address, for the log; with 0 seconds it covers nothing and does not end."""
        self.id = secrets.token_hex(16)
        self.peer = peer
        self._seconds = seconds
        self._clock = clock
        self._expires = clock() + seconds
        self._outgoing: asyncio.Queue[metadata_pb2.LeaseResponse | None] = asyncio.Queue()
        # In the order in which they were sent.
        self._unconfirmed: dict[int, _Unconfirmed] = {}
        self._is_connected = True

    @property
    def remaining(self) -> float:
        """Seconds until it runs out; zero or less when it has."""
        return self._expires - self._clock()

    @property
    def is_over(self) -> bool:
        """Whether it has run out."""
        return self._seconds > 0 and self.remaining <= 0

    @property
    def unconfirmed(self) -> int:
        """How many revocations the gateway has not confirmed."""
        return len(self._unconfirmed)

    @property
    def is_connected(self) -> bool:
        """Whether its stream stands. Without it the gateway cannot renew."""
        return self._is_connected

    def renew(self) -> None:
        """Extend a lease that has not run out, and tell the gateway for how long.

        Never beyond `seconds` after the oldest revocation that the gateway has not confirmed: a change waits
        no longer for a gateway that renews and does not confirm.
        """
        now = self._clock()
        oldest = next(iter(self._unconfirmed.values()), None)
        start = now if oldest is None else min(now, oldest.since)
        self._expires = max(self._expires, start + self._seconds)
        # Rounded down: the gateway must not believe in it any longer than this side does.
        granted = metadata_pb2.LeaseResponse.Granted(
            lease=self.id, milliseconds=math.floor(max(0.0, self._expires - now) * 1000)
        )
        self._outgoing.put_nowait(metadata_pb2.LeaseResponse(granted=granted))

    def revoke(self, number: int, revoked: Revoked) -> asyncio.Future[Outcome]:
        """Send a revocation; done when it is confirmed or the lease has ended."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._unconfirmed[number] = _Unconfirmed(self._clock(), outcome)
        message = metadata_pb2.LeaseResponse.Revocation(
            number=number, repository=revoked.repository, tags=revoked.tags, digests=revoked.digests
        )
        self._outgoing.put_nowait(metadata_pb2.LeaseResponse(revocation=message))
        return outcome

    def confirm(self, number: int) -> None:
        """The gateway has dropped what a revocation named. An unknown number changes nothing."""
        unconfirmed = self._unconfirmed.pop(number, None)
        if unconfirmed is not None:
            _settle(unconfirmed.outcome, Outcome.CONFIRMED)

    def end(self) -> None:
        """It was released, or has run out: nobody waits for it any more."""
        self.disconnect()
        self._expires = min(self._expires, self._clock())
        for unconfirmed in self._unconfirmed.values():
            _settle(unconfirmed.outcome, Outcome.ENDED)
        self._unconfirmed.clear()

    def disconnect(self) -> None:
        """End its stream, after what is on its way; the gateway may rely on the lease until it runs out."""
        if self._is_connected:
            self._is_connected = False
            self._outgoing.put_nowait(None)

    async def messages(self) -> AsyncGenerator[metadata_pb2.LeaseResponse, None]:
        """What is to be sent to the gateway, until the end of the stream."""
        while (message := await self._outgoing.get()) is not None:
            yield message


def _settle(outcome: asyncio.Future[Outcome], value: Outcome) -> None:
    # Cancelled when the change that waited for it gave up.
    if not outcome.done():
        outcome.set_result(value)
