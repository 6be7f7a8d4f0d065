"""Locks by key, within this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)


class LockTimeoutError(Exception):
    """The lock could not be had in time."""


class KeyedLocks(Generic[_K]):
    """One lock for each key, which exists while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[_K, asyncio.Lock] = {}
        self._users: dict[_K, int] = {}

    @asynccontextmanager
    async def hold(self, key: _K, *, timeout: float | None = None) -> AsyncIterator[None]:
        """Hold the key's lock; raises LockTimeoutError when it cannot be had within `timeout` seconds."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            try:
                async with asyncio.timeout(timeout):
                    await lock.acquire()
            except TimeoutError as error:
                raise LockTimeoutError from error
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

    def __len__(self) -> int:
        return len(self._locks)
