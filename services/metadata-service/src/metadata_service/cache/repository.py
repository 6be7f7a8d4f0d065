"""The rules by which a descriptor cache is used, whatever its implementation.

An answer never outlives the link that it stands for:

- Whoever fills the cache has read storage after taking a ticket (`begin`). A removal invalidates the
  tickets that were taken before it was through, so a read that overtook it fills nothing.
- A removal changes storage first, then clears the cache, and only then is it acknowledged.
- While the outcome of a removal is not known (storage did not answer), and while the cache cannot be
  cleared, the repository's descriptors are neither served nor filled.
- A cache that outlives this process, or that others write to, does not decide at all (`decides`): it may have
  what was removed. Who asks it reads the link from storage as well, at the same time.

An error of the cache is logged and counted, and never fails the request that met it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

from metadata_service.cache.interface import CacheSkippedError, DescriptorCache, Report
from metadata_service.descriptors import BlobDescriptor
from metadata_service.locks import KeyedLocks
from metadata_service.refusals import outcome_is_known
from moorage.digest import Digest

log = structlog.get_logger("metadata_service.cache")

REQUESTS = Counter("registry_storage_cache_requests_total", "Questions to the descriptor cache.")
HITS = Counter("registry_storage_cache_hits_total", "Questions that the descriptor cache answered.")
ERRORS = Counter("registry_storage_cache_errors_total", "Calls of the descriptor cache that failed.")

STALE = Counter(
    "moorage_metadata_cache_stale_total",
    "Answers of the descriptor cache that storage did not confirm, and that nobody was given.",
)

# Digests that the cache could not be told to forget, at most so many.
_UNCLEARED = 100_000

# Seconds between warnings about one operation.
_QUIET = 10.0

# Removals are told apart by repository, up to so many.
_GENERATIONS = 4096


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to fill the cache with what is read from now on, until the next removal."""

    repository: str
    generation: int


class RepositoryDescriptors:
    """A descriptor cache that cannot answer for a link that is gone."""

    def __init__(self, cache: DescriptorCache, *, settling: float, alone: bool = True) -> None:
        """`settling` is for how many seconds a removal of unknown outcome may still happen.

        `alone` says that nobody but this process changes storage.
        """
        self._cache = cache
        self._settling = settling
        self.is_alone = alone
        self._locks = KeyedLocks()
        self._generations = [0] * _GENERATIONS
        # Repositories whose links are in doubt, until when (in the loop's time).
        self._unsettled: dict[str, float] = {}
        # Until when the next failure of an operation is not said again.
        self._quiet_until: dict[str, float] = {}
        # What the cache could not be told to forget.
        self._uncleared: dict[str, set[Digest]] = {}

    @property
    def decides(self) -> bool:
        """Whether an answer of the cache can be given as it is.

        Otherwise it says what a blob was. Whether the repository has it, storage says.
        """
        return self.is_alone and self._cache.is_private

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        """The descriptor of a blob that the repository links; None when storage must be asked."""
        REQUESTS.inc()
        if not await self._is_trusted(repository):
            return None
        try:
            descriptor = await self._cache.get(repository, digest)
            if descriptor is not None and descriptor.digest != digest:
                # An alias is believed only together with the canonical digest, as in storage.
                canonical = await self._cache.get(repository, descriptor.digest)
                descriptor = descriptor if canonical is not None else None
        except Exception as error:  # any failure of the cache: storage has the answer
            self._failed("get", repository, error)
            return None
        if descriptor is not None:
            HITS.inc()
        return descriptor

    def begin(self, repository: str) -> Ticket:
        """A ticket for what is read from storage from now on."""
        return Ticket(repository, self._generations[_slot(repository)])

    async def fill(self, ticket: Ticket, digest: Digest, descriptor: BlobDescriptor) -> None:
        """Remember what was read with a ticket, unless something was removed since."""
        async with self._locks.shared([(ticket.repository,)]):
            if not await self._is_trusted(ticket.repository) or ticket != self.begin(ticket.repository):
                return
            try:
                await self._cache.add(ticket.repository, descriptor.digest, descriptor)
                if digest != descriptor.digest:
                    await self._cache.add(ticket.repository, digest, descriptor)
            except Exception as error:  # any failure of the cache: it stays empty
                self._failed("add", ticket.repository, error)

    @asynccontextmanager
    async def removing(self, repository: str, digests: Sequence[Digest]) -> AsyncIterator[None]:
        """Around the removal of links from storage: when it is left, the cache knows them no more."""
        try:
            yield
        except BaseException as error:
            if not outcome_is_known(error):
                self._unsettled[repository] = asyncio.get_running_loop().time() + self._settling
            raise
        finally:
            async with self._locks.exclusive((repository,)):
                self._generations[_slot(repository)] += 1
                self._owe(repository, digests)
                await self._clear(repository)

    async def forget(self, repository: str, digests: Sequence[Digest]) -> None:
        """Clear what the cache has and storage has not."""
        STALE.inc()
        log.warning(
            "the descriptor cache had what storage has not",
            repository=repository,
            digests=[str(digest) for digest in digests],
        )
        async with self._locks.exclusive((repository,)):
            self._owe(repository, digests)
            await self._clear(repository)

    async def watch(self, report: Report) -> None:
        """Watch the cache; when it is back, make up for the removals that it missed."""

        async def passed_on(degraded: str | None) -> None:
            await report(degraded)
            if degraded is None:
                for repository in list(self._uncleared):
                    await self._clear(repository)

        await self._cache.watch(passed_on)

    async def close(self) -> None:
        """Close the cache."""
        if self._uncleared:
            log.warning(
                "the descriptor cache still has what was removed while it was away",
                digests=sum(map(len, self._uncleared.values())),
            )
        await self._cache.close()

    def _owe(self, repository: str, digests: Sequence[Digest]) -> None:
        """Note what the cache has to forget."""
        owed = self._uncleared.setdefault(repository, set())
        owed.update(digests)
        if not self.decides and sum(map(len, self._uncleared.values())) > _UNCLEARED:
            # The oldest. This process does not believe the cache anyway; who shares it is worse off.
            forgotten = next(iter(self._uncleared))
            del self._uncleared[forgotten]
            log.error("too much to clear from the descriptor cache", repository=forgotten)

    def _failed(self, operation: str, repository: str, error: Exception) -> None:
        """Count a failure, and say so: once in a while, as each request may meet it."""
        if isinstance(error, CacheSkippedError):
            # That the cache is away was said when it was found out.
            return
        ERRORS.inc()
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until.get(operation, 0):
            self._quiet_until[operation] = now + _QUIET
            log.warning(
                "the descriptor cache failed", operation=operation, repository=repository, error=repr(error)
            )

    async def _is_trusted(self, repository: str) -> bool:
        """Whether what the cache holds of a repository, and what storage says of it, can be relied on."""
        until = self._unsettled.get(repository)
        if until is not None:
            if asyncio.get_running_loop().time() < until:
                return False
            del self._unsettled[repository]
            # What was filled by a ticket of that time may be wrong.
            self._generations[_slot(repository)] += 1
        if repository in self._uncleared:
            await self._clear(repository)
        return repository not in self._uncleared

    async def _clear(self, repository: str) -> None:
        """Make the cache forget what it has to; what it cannot be told stays in `_uncleared`."""
        digests = self._uncleared.get(repository, set())
        try:
            for digest in list(digests):
                await self._cache.remove(repository, digest)
                digests.discard(digest)
        except Exception as error:  # any failure of the cache: the repository is not trusted meanwhile
            self._failed("remove", repository, error)
            return
        if not digests:
            self._uncleared.pop(repository, None)


def _slot(repository: str) -> int:
    return hash(repository) % _GENERATIONS
