"""How commands get to Redis: to one server, or the master that sentinels name, or a cluster's nodes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import (
    ClusterDownError,
    ClusterError,
    MasterDownError,
    MaxConnectionsError,
    RedisClusterException,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from metadata_service.cache.interface import CacheAwayError, CacheBusyError
from metadata_service.cache.redis.connections import LimitedPool
from metadata_service.cache.redis.limits import Limits, Places

Command = tuple[str | int, ...]

# What says that Redis is not there, or not ready; anything else is its answer.
_AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    RedisClusterException,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    OSError,
    TimeoutError,
)


class Commands(ABC):
    """Sends commands, each call within `limits.longest_call` seconds.

    Every method raises CacheAwayError when Redis cannot be reached or does not answer in time, CacheBusyError
    when it cannot take the call just now, and redis-py's ResponseError for what Redis refuses.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.places = Places(limits)

    async def ask(self, *commands: Command) -> list[Any]:
        """The answers to questions that are asked at once."""
        async with self._within_limits():
            return await self._ask(commands)

    async def apply(self, *commands: Command) -> None:
        """Make changes in this order; as one transaction where all keys are on one server."""
        async with self._within_limits():
            await self._apply(commands)

    async def ping(self) -> None:
        """Have an answer from every server that takes changes."""
        async with self._within_limits():
            await self._ping()

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    async def _ask(self, commands: tuple[Command, ...]) -> list[Any]: ...

    @abstractmethod
    async def _apply(self, commands: tuple[Command, ...]) -> None: ...

    @abstractmethod
    async def _ping(self) -> None: ...

    @asynccontextmanager
    async def _within_limits(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.longest_call):
                yield
        except MaxConnectionsError as error:
            raise CacheBusyError(str(error)) from error
        except _AWAY as error:
            raise CacheAwayError(str(error) or "no answer in time") from error
        except ClusterError as error:
            # Nodes sent the command round: its keys are moving from one to another just now.
            raise CacheBusyError(str(error)) from error


class ServerCommands(Commands):
    """To one server. Several commands are one round trip."""

    def __init__(
        self, pool: LimitedPool, limits: Limits, *, least_idle: int = 0, sentinel: Sentinel | None = None
    ) -> None:
        super().__init__(limits)
        self._pool = pool
        self._client = Redis.from_pool(pool)
        self._least_idle = least_idle
        self._sentinel = sentinel

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        for sentinel in self._sentinel.sentinels if self._sentinel is not None else ():
            await sentinel.aclose()

    async def _ask(self, commands: tuple[Command, ...]) -> list[Any]:
        return await self._send(commands, transaction=False)

    async def _apply(self, commands: tuple[Command, ...]) -> None:
        await self._send(commands, transaction=len(commands) > 1)

    async def _send(self, commands: tuple[Command, ...], *, transaction: bool) -> list[Any]:
        async with self.places.take(), self._client.pipeline(transaction=transaction) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute()
            return answers

    async def _ping(self) -> None:
        async with self.places.take():
            await self._client.execute_command("PING")
        await self._pool.open_ahead(self._least_idle)


class ClusterCommands(Commands):
    """To the nodes of a cluster: keys are on several of them, so there are no transactions."""

    def __init__(self, cluster: RedisCluster, limits: Limits) -> None:
        super().__init__(limits)
        self._cluster = cluster
        self._finding_nodes = asyncio.Lock()
        self._knows_nodes = False

    async def close(self) -> None:
        """Close the connections."""
        await self._cluster.aclose()

    async def _ask(self, commands: tuple[Command, ...]) -> list[Any]:
        await self._find_nodes()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._send(*command)) for command in commands]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [task.result() for task in tasks]

    async def _apply(self, commands: tuple[Command, ...]) -> None:
        await self._find_nodes()
        for command in commands:
            await self._send(*command)

    async def _ping(self) -> None:
        await self._find_nodes()
        await self._send("PING", target_nodes=RedisCluster.PRIMARIES)

    async def _send(self, *command: str | int, **options: Any) -> Any:
        async with self.places.take():
            return await self._cluster.execute_command(*command, **options)

    async def _find_nodes(self) -> None:
        """Know which node has which keys, before the first command.

        Of several that begin at once, redis-py would let one close what the others have just connected.
        """
        if self._knows_nodes:
            return
        async with self._finding_nodes:
            await self._cluster.initialize()
            self._knows_nodes = True
