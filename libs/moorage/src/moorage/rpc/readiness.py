"""Waiting out the moment in which a service is started again.

gRPC fails a call at once while its channel cannot connect. For a service that is away for long that is right;
but one that is restarted is back before its client has read the error.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import grpc

# Seconds between two looks at which instance is chosen, of one who waits for it.
_LOOK = 0.2


class Readiness:
    """Whether a channel is connected.

    `grace` is how many seconds a call waits for a service that has just gone (`services.grace`): more than
    its restart takes, and than a channel's longest pause between two attempts to connect.
    """

    def __init__(self, channel: grpc.aio.Channel, *, grace: float) -> None:
        self._channel = channel
        self._grace = grace
        self._gone_since: float | None = None

    def left(self) -> float:
        """Seconds that a call may still wait for the connection: 0 when it is there, or gone for long."""
        if self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            self._gone_since = None
            return 0.0
        now = asyncio.get_running_loop().time()
        if self._gone_since is None:
            self._gone_since = now
        return max(self._gone_since + self._grace - now, 0.0)

    async def wait(self, at_least: float = 0.0, at_most: float = math.inf) -> None:
        """Wait for the connection, if it has been missing for less than the grace; a call may be made then.

        Or for `at_least` so many seconds from now, and `at_most`. Whether the call succeeds is for itself to
        find out.
        """
        seconds = min(max(self.left(), at_least), at_most)
        if self._gone_since is None:
            return
        state = self._channel.get_state(try_to_connect=True)
        try:
            async with asyncio.timeout(seconds):
                while state is not grpc.ChannelConnectivity.READY:
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
                self._gone_since = None
        except TimeoutError:
            return


class _Instance(Protocol):
    @property
    def readiness(self) -> Readiness: ...


_I = TypeVar("_I", bound=_Instance)


async def connected(choose: Callable[[], _I], missing: Callable[[], None]) -> _I:
    """The instance that `choose` gives, when it is connected or has had its grace; a call may be made then.

    `missing` is called while it is not connected. `choose` is asked again and again meanwhile: an instance
    that is gone may have a successor at another address.
    """
    instance = choose()
    while instance.readiness.left() > 0:
        missing()
        await instance.readiness.wait(at_most=_LOOK)
        instance = choose()
    return instance
