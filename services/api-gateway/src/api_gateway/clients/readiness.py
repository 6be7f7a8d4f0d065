"""Waiting out the moment in which a service is started again.

gRPC fails a call at once while its channel cannot connect. For a service that is away for long that is right;
but one that is restarted is back before its client has read the error.
"""

from __future__ import annotations

import asyncio

import grpc

from moorage.rpc import Channel


class Readiness:
    """Whether a channel is connected.

    `grace` is how many seconds a call waits for a service that has just gone (`services.grace`): more than
    its restart takes, and than a channel's longest pause between two attempts to connect.
    """

    def __init__(self, channel: Channel, *, grace: float) -> None:
        self._channel = channel
        self._grace = grace
        self._gone_since: float | None = None

    async def wait(self, at_least: float = 0.0) -> None:
        """Wait for the connection, if it has been missing for less than the grace; a call may be made then.

        Or for `at_least` so many seconds from now. Whether the call succeeds is for itself to find out.
        """
        state = self._channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            self._gone_since = None
            return
        now = asyncio.get_running_loop().time()
        if self._gone_since is None:
            self._gone_since = now
        try:
            async with asyncio.timeout(max(self._gone_since + self._grace - now, at_least)):
                while state is not grpc.ChannelConnectivity.READY:
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
                self._gone_since = None
        except TimeoutError:
            return
