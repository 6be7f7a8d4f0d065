"""A circuit breaker around a cache that can be away: meanwhile requests go on without it, not waiting.

The first call that fails opens the circuit. While it is open no request asks the cache; a task of its own
does (`watch`), and closes the circuit when there is an answer. So a cache that is gone costs the requests
that are under way one timeout, and those after them nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog
from prometheus_client import Gauge

from metadata_service.cache.interface import CacheAwayError, CacheBusyError, CacheSkippedError, Report
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest

log = structlog.get_logger("metadata_service.cache")

AVAILABLE = Gauge(
    "moorage_metadata_cache_available",
    "Whether the descriptor cache answers (1), or is away and not asked (0).",
)
WRITABLE = Gauge(
    "moorage_metadata_cache_writable",
    "Whether the descriptor cache took the last change that it was told (1).",
)
# Where there is no such cache, none is away.
AVAILABLE.set(1)
WRITABLE.set(1)

# Seconds between questions of our own while the cache answers, and while it is away.
INTERVAL = 2.0
RETRY = 0.25

_T = TypeVar("_T")


class RemoteDescriptorCache(Protocol):
    """A cache in another process, which raises CacheAwayError when that cannot be reached."""

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        """See DescriptorCache."""
        ...

    async def add(self, repository: str, digest: Digest, descriptor: BlobDescriptor) -> None:
        """See DescriptorCache."""
        ...

    async def remove(self, repository: str, digest: Digest) -> None:
        """See DescriptorCache."""
        ...

    async def check(self, *, writes: bool) -> None:
        """Raise unless the cache answers, and with `writes` unless it takes a change."""
        ...

    async def close(self) -> None:
        """See DescriptorCache."""
        ...


class CircuitBreaker:
    """Raises CacheSkippedError at once while the cache behind it is away."""

    is_private = False

    def __init__(
        self, cache: RemoteDescriptorCache, *, interval: float = INTERVAL, retry: float = RETRY
    ) -> None:
        self._cache = cache
        self._interval = interval
        self._retry = retry
        # Why the cache is not asked, and why it takes no changes; None when it is, and does.
        self._away: str | None = None
        self._refuses: str | None = None
        self._changed = asyncio.Event()
        AVAILABLE.set(1)
        WRITABLE.set(1)

    @property
    def degraded(self) -> str | None:
        """What is wrong with the cache, in a few words; None when nothing is."""
        return self._away or self._refuses

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        """The descriptor. Raises CacheAwayError, or what the cache refused the question with."""
        return await self._ask(lambda: self._cache.get(repository, digest))

    async def add(self, repository: str, digest: Digest, descriptor: BlobDescriptor) -> None:
        """Remember a descriptor. Raises as `get`."""
        await self._change(lambda: self._cache.add(repository, digest, descriptor))

    async def remove(self, repository: str, digest: Digest) -> None:
        """Forget a descriptor. Raises as `get`."""
        await self._change(lambda: self._cache.remove(repository, digest))

    async def watch(self, report: Report) -> None:
        """Ask the cache again and again, and report when what is wrong with it changes."""
        reported: str | None = ""
        task = asyncio.current_task()
        while True:
            await self._check()
            # A client that is cancelled while it connects may say that it cannot, and nothing else.
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            if self.degraded != reported:
                reported = self.degraded
                await report(reported)
            self._changed.clear()
            try:
                async with asyncio.timeout(self._interval if self.degraded is None else self._retry):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Close the cache."""
        await self._cache.close()

    async def _check(self) -> None:
        try:
            await self._cache.check(writes=self._refuses is not None)
        except CacheAwayError as error:
            self._open(error)
        except CacheBusyError:
            # Others are asking it just now, and find out.
            return
        except Exception as error:
            # It answered, so it is there; whether it takes changes is known only from a change.
            self._close()
            log.debug("the descriptor cache refused a check", error=str(error))
        else:
            self._close()
            self._takes_changes()

    async def _ask(self, call: Callable[[], Awaitable[_T]]) -> _T:
        if self._away is not None:
            raise CacheSkippedError(self._away)
        try:
            return await call()
        except CacheAwayError as error:
            self._open(error)
            raise

    async def _change(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._ask(call)
        except (CacheAwayError, CacheBusyError):
            raise
        except Exception as error:
            if self._refuses is None:
                log.warning("the descriptor cache takes no changes", error=str(error))
                self._changed.set()
            self._refuses = f"takes no changes: {error}"
            WRITABLE.set(0)
            raise
        else:
            self._takes_changes()

    def _open(self, error: CacheAwayError) -> None:
        if self._away is None:
            log.warning("the descriptor cache is away; storage is asked instead", error=str(error))
            AVAILABLE.set(0)
            self._changed.set()
        self._away = f"away: {error}"

    def _close(self) -> None:
        if self._away is not None:
            log.info("the descriptor cache is back")
            self._away = None
            AVAILABLE.set(1)

    def _takes_changes(self) -> None:
        if self._refuses is not None:
            log.info("the descriptor cache takes changes again")
            self._refuses = None
            WRITABLE.set(1)
