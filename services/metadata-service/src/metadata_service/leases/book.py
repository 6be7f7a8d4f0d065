"""The leases of all gateways: granted, renewed and ended; what they cover is revoked before it changes.

The order of a change is the whole protocol: mark the repository, so that from now on no answer about it may
be kept; tell the holders; wait until each has confirmed or its lease has run out; change storage; lift the
mark; acknowledge. docs/leases.md argues why a read then never finds an older state than an acknowledged one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

import structlog

from metadata_service.deadline import remaining
from metadata_service.leases.changing import Mark, Marks, Watch
from metadata_service.leases.holdings import Holdings
from metadata_service.leases.lease import Lease, Outcome, Revoked
from metadata_service.metrics import HOLDINGS, LEASES, LEASES_ENDED, REVOCATION_WAIT, REVOCATIONS
from moorage.clock import boot_seconds
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger("metadata_service.leases")

# A change gives up this many seconds before its caller does, so that the caller hears why.
_MARGIN = 0.25


class Leases:
    """The leases of this process's life. For one event loop.

    A service that starts knows nothing of those that an earlier process granted. Until they have run out,
    `seconds` after the start, it lets nothing be kept and no change begin.
    """

    def __init__(
        self,
        *,
        seconds: float,
        settling: float,
        holdings: Holdings | None = None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        """`seconds` is how long a lease runs, 0 for none; `settling` is as in Marks."""
        self._seconds = seconds
        self._clock = clock
        self._marks = Marks(settling=settling)
        self._holdings = holdings or Holdings()
        self._leases: dict[str, Lease] = {}
        self._numbers = count(1)
        self._begins = clock() + seconds
        # The changes that wait for gateways.
        self._waiting: set[object] = set()
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        self._drained = False
        LEASES.set_function(lambda: sum(lease.remaining > 0 for lease in self._leases.values()))
        HOLDINGS.set_function(lambda: len(self._holdings))

    # Of one lease

    def grant(self, peer: str) -> Lease:
        """A new lease for the gateway at an address."""
        lease = Lease(peer, self._seconds, self._clock)
        self._leases[lease.id] = lease
        if self._seconds > 0:
            self._expire_later(lease)
        if self._drained:
            lease.disconnect()
        return lease

    def release(self, lease: Lease) -> None:
        """The gateway keeps nothing any more."""
        self._end(lease, "released")

    def disconnect(self, lease: Lease) -> None:
        """The lease's stream has ended. Its gateway may not know it yet, and rely on it until it runs out."""
        lease.disconnect()
        if not self._holdings.has_any(lease):
            self._end(lease, "disconnected")

    async def drain(self) -> None:
        """Wait until no change waits for a gateway, then end all streams, and each new one at once."""
        await self._nobody_waits.wait()
        self._drained = True
        for lease in list(self._leases.values()):
            lease.disconnect()

    # Of look-ups

    def watch(self, repository: str) -> Watch:
        """Watch a repository from before it is read until the answer; then `conclude` the watch."""
        return self._marks.watch(repository)

    def conclude(self, watch: Watch, lease_id: str, *, keep: bool) -> bool:
        """End a watch; whether the gateway with this lease may keep the answer.

        `keep` says whether it is an answer that may be kept. From now on a change of the repository waits for
        the lease.
        """
        self._marks.unwatch(watch)
        lease = self._leases.get(lease_id)
        if not keep or not watch.undisturbed or lease is None:
            return False
        # In the first seconds an earlier process's last change may still reach storage.
        if not lease.is_connected or lease.remaining <= 0 or self._clock() < self._begins:
            return False
        self._holdings.add(lease, watch.repository)
        return True

    @contextmanager
    def watching(self, repository: str, lease_id: str) -> Iterator[Callable[[], bool]]:
        """Watch a repository while one answer about it is read; the function tells whether it may be kept.

        To be asked in one stretch with the reply, once; an answer of which it is not asked is not kept.
        """
        watch = self.watch(repository)
        try:
            yield partial(self.conclude, watch, lease_id, keep=True)
        finally:
            self._marks.unwatch(watch)

    # Of changes

    async def revoke(self, revoked: Revoked) -> Mark:
        """Take back what gateways keep; when this returns storage may change, inside the mark.

        Raises RegistryError (UNAVAILABLE) when a gateway neither confirms nor loses its lease within the
        deadline of the call that is being served. Then, and when the caller is cancelled, nothing has changed
        and no mark stays.
        """
        mark = self._marks.set(revoked.repository)
        started = self._clock()
        self._waiting.add(mark)
        self._nobody_waits.clear()
        try:
            await self._take_back(revoked)
        except BaseException:
            mark.lift()
            raise
        finally:
            self._waiting.discard(mark)
            if not self._waiting:
                self._nobody_waits.set()
            REVOCATION_WAIT.observe(self._clock() - started)
        return mark

    async def _take_back(self, revoked: Revoked) -> None:
        # Asked for once: what comes to be held from now on is not about the state before the change.
        holders = self._holdings.of(revoked.repository)
        outcomes = {lease.revoke(next(self._numbers), revoked): lease for lease in holders}
        try:
            await self._wait_for_earlier_leases()
            await self._wait(outcomes)
        finally:
            for outcome, lease in outcomes.items():
                self._count(outcome, lease, revoked)

    async def _wait_for_earlier_leases(self) -> None:
        while (left := self._begins - self._clock()) > 0:
            if left > _patience():
                raise RegistryError(
                    ErrorCode.UNAVAILABLE,
                    "the metadata service has just started: changes wait until earlier leases have run out;"
                    " nothing was changed",
                )
            await asyncio.sleep(left)

    async def _wait(self, outcomes: dict[asyncio.Future[Outcome], Lease]) -> None:
        if not outcomes:
            return
        patience = _patience()
        # A lease ends by itself, so without a deadline this ends as well.
        _, missing = await asyncio.wait(outcomes, timeout=None if math.isinf(patience) else patience)
        if missing:
            raise RegistryError(
                ErrorCode.UNAVAILABLE,
                "a gateway with a lease on the repository has not confirmed in time; nothing was changed",
            )

    def _count(self, outcome: asyncio.Future[Outcome], lease: Lease, revoked: Revoked) -> None:
        if not outcome.done():
            outcome.cancel()
            REVOCATIONS.labels("abandoned").inc()
            return
        REVOCATIONS.labels(outcome.result().value).inc()
        if outcome.result() is Outcome.CONFIRMED and revoked.is_everything:
            # The mark still stands, so that no answer of this repository is held meanwhile.
            self._holdings.forget(lease, revoked.repository)

    # Of time

    def _expire_later(self, lease: Lease) -> None:
        asyncio.get_running_loop().call_later(max(lease.remaining, 0.0), self._expire, lease)

    def _expire(self, lease: Lease) -> None:
        if lease.id not in self._leases:
            return
        # It was renewed since, or the loop's clock runs ahead of this one.
        if lease.remaining > 0:
            self._expire_later(lease)
            return
        if lease.unconfirmed:
            log.warning(
                "a lease ran out before its gateway confirmed what changes had revoked",
                peer=lease.peer,
                unconfirmed=lease.unconfirmed,
            )
            self._end(lease, "unconfirmed")
        else:
            log.info("a lease ran out", peer=lease.peer, connected=lease.is_connected)
            self._end(lease, "expired")

    def _end(self, lease: Lease, reason: str) -> None:
        if self._leases.pop(lease.id, None) is None:
            return
        LEASES_ENDED.labels(reason).inc()
        self._holdings.remove(lease)
        lease.end()


def _patience() -> float:
    """Seconds for which a change may wait."""
    return max(0.0, remaining(math.inf) - _MARGIN)
