"""State changes: each runs to its end once it has begun, and none undoes another one that was acknowledged.

What adds (a push, a link) shares the keys that it touches; what takes away (a delete) holds its key
alone. The locks are this process's: several metadata services on one storage do not see each other's.

A change that makes an answer wrong first takes back what gateways keep of it. That wait is in the caller's
time, before the change has begun: a caller who goes away meanwhile, or whose time is up, has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar

import structlog

from metadata_service.deadline import within
from metadata_service.leases import Leases, Revoked
from metadata_service.locks import Key, KeyedLocks
from moorage.digest import Digest

log = structlog.get_logger("metadata_service.changes")

_T = TypeVar("_T")


def blob_key(repository: str, canonical: Digest) -> Key:
    """The key of a repository's links to a blob."""
    return (repository, "blob", str(canonical))


def manifest_key(repository: str, canonical: Digest) -> Key:
    """The key of a repository's links to a manifest."""
    return (repository, "manifest", str(canonical))


def tag_key(repository: str, tag: str) -> Key:
    """The key of a tag."""
    return (repository, "tag", tag)


class Changes:
    """Runs the changes of this process."""

    def __init__(self, leases: Leases, *, timeout: float) -> None:
        """`timeout` is the most seconds that one change may take."""
        self._leases = leases
        self._timeout = timeout
        self._locks = KeyedLocks()
        self._running: set[asyncio.Task[Any]] = set()

    async def run(
        self, change: Callable[[], Coroutine[Any, Any, _T]], *, revoking: Revoked | None = None
    ) -> _T:
        """Run a change to its end, in its own time, whether or not the caller stays to hear of it.

        `revoking` names the answers that it makes wrong: it begins when no gateway keeps them any more.
        Raises RegistryError (UNAVAILABLE) when the caller's deadline is before that; then it has not begun.
        """
        mark = await self._leases.revoke(revoking) if revoking is not None else nullcontext()
        # No await until the task has the mark, so that a cancelled caller cannot lose it.
        task = asyncio.create_task(self._bounded(change, mark))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_unheard)
            raise

    @asynccontextmanager
    async def adding(self, keys: Iterable[Key], *, alone: Iterable[Key] = ()) -> AsyncIterator[None]:
        """Hold the keys against everyone who takes away, and those of `alone` against everyone who adds, too.

        What must not be added twice is decided while its key is held alone.
        """
        async with self._locks.shared(keys, alone=alone):
            yield

    @asynccontextmanager
    async def removing(self, key: Key) -> AsyncIterator[None]:
        """Hold the key against everyone."""
        async with self._locks.exclusive(key):
            yield

    async def drain(self) -> None:
        """Wait until the changes that have begun are through."""
        if self._running:
            await asyncio.wait(self._running)

    async def _bounded(
        self, change: Callable[[], Coroutine[Any, Any, _T]], mark: AbstractContextManager[object]
    ) -> _T:
        with mark:
            async with within(self._timeout, inherit=False):
                return await change()


def _log_unheard(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.warning("a change failed after its caller had gone", error=str(error))
