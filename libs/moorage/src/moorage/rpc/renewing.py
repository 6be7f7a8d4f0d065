"""A channel whose certificate and addresses can change: gRPC's own keep those that they were made with.

Calls go to the channel of the newest certificate and addresses; those under way on a former one end there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any

import grpc

from moorage.rpc.discovery import NamedTarget

# Seconds that calls under way on a former channel may still take.
_GRACE = 3600.0

# Seconds between two looks at whether the channel is still the newest, of one who waits for it to connect.
_LOOK = 0.2


class RenewingChannel(grpc.aio.Channel):
    """A channel that `make` makes, and makes again when `generation` gives something else.

    A target with a name, `named`, is followed from the first use until the channel is closed.
    """

    def __init__(
        self,
        make: Callable[[], grpc.aio.Channel],
        generation: Callable[[], Hashable],
        named: NamedTarget | None = None,
    ) -> None:
        self._make = make
        self._generation = generation
        self._named = named
        self._following: asyncio.Task[None] | None = None
        self._made = generation()
        self._channel = make()
        self._ending: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """The channel for the next call."""
        if self._named is not None and self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._named.follow())
        newest = self._generation()
        if newest != self._made:
            former, self._channel, self._made = self._channel, self._make(), newest
            task = asyncio.get_running_loop().create_task(former.close(_GRACE))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        return self._channel

    async def __aenter__(self) -> RenewingChannel:
        """Nothing to do."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close(None)

    async def close(self, grace: float | None = None) -> None:
        """Close all channels; calls under way have `grace` seconds."""
        background = [*self._ending, self._following] if self._following else list(self._ending)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the newest channel."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the newest channel is in another state, or another one is the newest."""
        channel = self.current()
        if self._named is not None and last_observed_state is not grpc.ChannelConnectivity.READY:
            self._named.missing()
        changed = asyncio.ensure_future(channel.wait_for_state_change(last_observed_state))
        try:
            while not changed.done() and self.current() is channel:
                await asyncio.wait([changed], timeout=_LOOK)
        finally:
            changed.cancel()

    async def channel_ready(self) -> None:
        """Wait until the newest channel is connected."""
        await self.current().channel_ready()

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """A method of one request and one answer."""
        return _Method(self, "unary_unary", arguments, named)

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """A method of one request and many answers."""
        return _Method(self, "unary_stream", arguments, named)

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """A method of many requests and one answer."""
        return _Method(self, "stream_unary", arguments, named)

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """A method of many requests and many answers."""
        return _Method(self, "stream_stream", arguments, named)


class _Method:
    """A method of a stub: made for each channel on its first call there."""

    def __init__(
        self, channel: RenewingChannel, kind: str, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._arguments = arguments
        self._named = named
        self._made_on: grpc.aio.Channel | None = None
        self._method: Any = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        channel = self._channel.current()
        if channel is not self._made_on:
            self._method = getattr(channel, self._kind)(*self._arguments, **self._named)
            self._made_on = channel
        return self._method(*arguments, **named)
