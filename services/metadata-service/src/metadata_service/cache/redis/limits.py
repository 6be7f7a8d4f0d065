"""What calls of Redis may take: time, and connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from metadata_service.cache.interface import CacheBusyError
from moorage.config.redis import Redis


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and numbers of connections."""

    dial: float
    read: float
    write: float
    wait: float
    connections: int
    # 0 for all, and for ever.
    idle_connections: int
    idle: float
    lifetime: float
    retries: int
    min_backoff: float
    max_backoff: float

    @classmethod
    def of(cls, config: Redis) -> Limits:
        """The limits of a configuration."""
        return cls(
            dial=config.dialtimeout,
            read=config.readtimeout,
            write=config.writetimeout,
            wait=config.longest_wait,
            connections=config.most_connections,
            idle_connections=config.most_idle_connections,
            idle=config.longest_idle,
            lifetime=config.connmaxlifetime,
            retries=config.maxretries,
            min_backoff=config.minretrybackoff,
            max_backoff=config.maxretrybackoff,
        )

    @property
    def longest_call(self) -> float:
        """The most that a call may take: to wait for a connection, to make it, and to have an answer.

        However many steps there are in it (a login, a question to sentinels, a redirection in a cluster).
        """
        once = self.dial + self.write + self.read
        return self.wait + once * (self.retries + 1) + self.max_backoff * self.retries


class Places:
    """As many calls at a time as there may be connections."""

    def __init__(self, limits: Limits) -> None:
        self._free = asyncio.Semaphore(limits.connections)
        self._wait = limits.wait

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold a place. Raises CacheBusyError when none becomes free in time."""
        if self._free.locked():
            try:
                async with asyncio.timeout(self._wait):
                    await self._free.acquire()
            except TimeoutError as error:
                raise CacheBusyError("no connection became free in time") from error
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()
