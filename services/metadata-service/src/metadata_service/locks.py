"""Locks by key, shared by those who add and exclusive for who takes away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

Key = tuple[str, ...]

_EXCLUSIVE = -1


class _Lock:
    """One key's lock. First come, first served, so that nobody waits for ever."""

    def __init__(self) -> None:
        # How many share it, or _EXCLUSIVE.
        self._held = 0
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @property
    def idle(self) -> bool:
        return self._held == 0 and not self._waiting

    async def acquire(self, *, exclusive: bool) -> None:
        if not self._waiting and self._fits(exclusive):
            self._take(exclusive)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((exclusive, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                # Others may have waited behind this turn alone.
                self._wake()
            else:
                self.release()
            raise

    def release(self) -> None:
        self._held = 0 if self._held == _EXCLUSIVE else self._held - 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            exclusive, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif self._fits(exclusive):
                self._waiting.popleft()
                self._take(exclusive)
                turn.set_result(None)
            else:
                return

    def _fits(self, exclusive: bool) -> bool:
        return self._held == 0 if exclusive else self._held != _EXCLUSIVE

    def _take(self, exclusive: bool) -> None:
        self._held = _EXCLUSIVE if exclusive else self._held + 1


class KeyedLocks:
    """A lock for each key, there only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[Key, _Lock] = {}

    @asynccontextmanager
    async def shared(self, keys: Iterable[Key], *, alone: Iterable[Key] = ()) -> AsyncIterator[None]:
        """Hold all keys together with others that share them, and those of `alone` against everyone."""
        excluded = set(alone)
        async with AsyncExitStack() as stack:
            # In one order for all, so that two holders never wait for each other.
            for key in sorted({*keys, *excluded}):
                await stack.enter_async_context(self._hold(key, exclusive=key in excluded))
            yield

    @asynccontextmanager
    async def exclusive(self, key: Key) -> AsyncIterator[None]:
        """Hold a key alone."""
        async with self._hold(key, exclusive=True):
            yield

    @asynccontextmanager
    async def _hold(self, key: Key, *, exclusive: bool) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, _Lock())
        try:
            await lock.acquire(exclusive=exclusive)
            try:
                yield
            finally:
                lock.release()
        finally:
            if lock.idle and self._locks.get(key) is lock:
                del self._locks[key]
