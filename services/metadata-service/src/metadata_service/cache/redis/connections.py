"""redis-py's connections and pools, with the limits of a configuration that redis-py has no name for."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    RedisSSLContext,
    SSLConnection,
)
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection
from redis.exceptions import TimeoutError as RedisTimeoutError

from metadata_service.cache.redis.limits import Limits


class _Limited(AbstractConnection):
    """Reading and writing have a limit each; what is too old or was idle too long is connected anew."""

    def __init__(self, *, limits: Limits, **options: Any) -> None:
        options["socket_connect_timeout"] = limits.dial
        # redis-py has one limit for both.
        options["socket_timeout"] = max(limits.read, limits.write)
        super().__init__(**options)
        self._limits = limits
        self._made = self._used = time.monotonic()

    async def connect(self) -> None:
        """Connect, unless it is connected."""
        if not self.is_connected:
            # Before the login, which is sent over it.
            self._made = self._used = time.monotonic()
        await super().connect()  # type: ignore[no-untyped-call]  # redis-py has no types here

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send within the limit, over a connection that is not worn."""
        if self.is_connected and self._is_worn():
            await self.disconnect()
        if not self.is_connected:
            await self.connect()
        self._used = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.write):
                await super().send_packed_command(command, check_health=check_health)
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout writing to socket") from error

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """An answer within the limit."""
        # When this is cut off, redis-py closes the connection: an answer that comes late is not taken for
        # the answer to the next question.
        try:
            async with asyncio.timeout(self._limits.read):
                return await super().read_response(*args, **options)
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout reading from socket") from error

    def _is_worn(self) -> bool:
        now, limits = time.monotonic(), self._limits
        return (0 < limits.idle < now - self._used) or (0 < limits.lifetime < now - self._made)


class _FixedContext(RedisSSLContext):
    """Stands where redis-py would read the files for each connection, and trust the system's as well."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def get(self) -> ssl.SSLContext:
        """The context."""
        return self._context


class _LimitedTLS(_Limited, SSLConnection):
    """Encrypted."""

    def __init__(self, *, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context = _FixedContext(context)


class LimitedConnection(_Limited, Connection):
    """Unencrypted."""


class LimitedTLSConnection(_LimitedTLS):
    """Encrypted, with a context that was made before."""


class LimitedSentinelConnection(_Limited, SentinelManagedConnection):
    """To the master that sentinels name, unencrypted."""


class LimitedSentinelTLSConnection(_LimitedTLS, SentinelManagedConnection, SSLConnection):
    """To the master that sentinels name, encrypted."""


class LimitedPool(ConnectionPool):
    """Keeps no more connections open that nobody uses than it may, and can have some open ahead."""

    def __init__(self, *, most_idle: int, **options: Any) -> None:
        """`most_idle` is 0 for all."""
        super().__init__(**options)
        self._most_idle = most_idle

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back, and close the one that was idle the longest when there are too many."""
        await super().release(connection)
        idle = self._idle()
        if 0 < self._most_idle < len(idle):
            self._available_connections.remove(idle[0])
            await idle[0].disconnect()

    async def open_ahead(self, count: int) -> None:
        """Have so many connections open that nobody uses, as far as the pool has room for them."""
        if len(self._idle()) >= count:
            return
        room = self.max_connections - len(self._in_use_connections)
        async with AsyncExitStack() as stack:
            for _ in range(min(count, room)):
                connection = await self.get_connection()  # type: ignore[no-untyped-call]  # nor here
                stack.push_async_callback(self.release, connection)

    def _idle(self) -> list[AbstractConnection]:
        """The connections that are open and unused; the one that was used last stands last."""
        return [each for each in self._available_connections if each.is_connected]


class LimitedSentinelPool(LimitedPool, SentinelConnectionPool):
    """The same, of connections to the master that sentinels name."""
