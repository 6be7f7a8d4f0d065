"""One lease against a clock that stands still, and what is remembered of many."""

from __future__ import annotations

import pytest

from metadata_service.leases.changing import Marks
from metadata_service.leases.holdings import MAX_REPOSITORIES, Holdings
from metadata_service.leases.lease import Lease, Outcome, Revoked
from metadata_service.refusals import outcome_is_known
from moorage.errors import ErrorCode, RegistryError
from support.clock import Clock

SECONDS = 2.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    return Lease("a gateway", SECONDS, clock)


async def granted(lease: Lease) -> list[int]:
    """What the gateway was granted so far, each time in milliseconds; it ends the stream."""
    lease.disconnect()
    return [each.granted.milliseconds async for each in lease.messages() if each.HasField("granted")]


async def test_each_renewal_counts_from_the_moment_at_which_it_is_processed(
    lease: Lease, clock: Clock
) -> None:
    for _ in range(3):
        lease.renew()
        assert lease.remaining == SECONDS
        clock.now += 1.5
    assert lease.remaining == 0.5
    assert await granted(lease) == [2000, 2000, 2000]


async def test_what_is_granted_is_never_more_than_what_is_left(lease: Lease, clock: Clock) -> None:
    clock.now += 0.0004
    lease.revoke(1, Revoked("team/app"))
    clock.now += 0.70051
    lease.renew()
    (milliseconds,) = await granted(lease)
    assert milliseconds <= lease.remaining * 1000 < milliseconds + 1


async def test_an_unconfirmed_revocation_limits_every_renewal_after_it(lease: Lease, clock: Clock) -> None:
    clock.now += 0.5
    outcome = lease.revoke(7, Revoked("team/app", ("v1",)))
    for _ in range(4):
        clock.now += 0.5
        lease.renew()
    assert lease.is_over
    assert not outcome.done()
    assert await granted(lease) == [1500, 1000, 500, 0]


async def test_a_confirmed_revocation_limits_no_renewal(lease: Lease, clock: Clock) -> None:
    first, second = lease.revoke(1, Revoked("team/app")), lease.revoke(2, Revoked("team/app"))
    clock.now += 1.0
    lease.confirm(1)
    assert first.result() is Outcome.CONFIRMED
    lease.renew()
    assert lease.remaining == 1.0
    lease.confirm(2)
    assert second.result() is Outcome.CONFIRMED
    lease.renew()
    assert lease.remaining == SECONDS


async def test_the_end_of_a_lease_ends_every_wait_for_it(lease: Lease, clock: Clock) -> None:
    outcomes = [lease.revoke(number, Revoked("team/app")) for number in range(3)]
    outcomes[0].cancel()
    lease.end()
    assert [each.result() for each in outcomes[1:]] == [Outcome.ENDED, Outcome.ENDED]
    assert lease.remaining <= 0
    assert lease.unconfirmed == 0


async def test_a_stream_says_what_is_on_its_way_before_it_ends(lease: Lease) -> None:
    lease.renew()
    lease.revoke(5, Revoked("team/app", ("v1", "v2"), ("sha256:1",)))
    lease.disconnect()
    lease.disconnect()
    first, second = [each async for each in lease.messages()]
    assert first.granted.lease == lease.id
    revocation = second.revocation
    assert (revocation.number, revocation.repository) == (5, "team/app")
    assert (list(revocation.tags), list(revocation.digests)) == (["v1", "v2"], ["sha256:1"])


def test_a_lease_on_a_hundred_thousand_repositories_counts_as_one_on_all(clock: Clock) -> None:
    holdings = Holdings()
    large, small = Lease("large", SECONDS, clock), Lease("small", SECONDS, clock)
    holdings.add(small, "team/app-0")
    for number in range(MAX_REPOSITORIES):
        holdings.add(large, f"team/app-{number}")
    assert MAX_REPOSITORIES == 100_000
    assert holdings.of("team/other") == []
    assert len(holdings) == MAX_REPOSITORIES + 1
    holdings.add(large, "team/one-more")
    # Nothing is left to remember, and nothing to forget before the lease ends.
    assert len(holdings) == 1
    assert holdings.of("team/other") == [large]
    assert set(holdings.of("team/app-0")) == {large, small}
    holdings.forget(large, "team/other")
    holdings.add(large, "team/two-more")
    assert holdings.of("team/other") == [large]
    assert holdings.has_any(large)
    holdings.remove(large)
    assert holdings.of("team/other") == []
    assert not holdings.has_any(large)


def test_what_a_lease_covered_leaves_nothing_behind(clock: Clock) -> None:
    holdings = Holdings()
    one, other = Lease("one", SECONDS, clock), Lease("other", SECONDS, clock)
    for lease in (one, other):
        holdings.add(lease, "team/app")
        holdings.add(lease, "team/app")
    assert len(holdings) == 2
    holdings.forget(one, "team/app")
    holdings.forget(one, "team/app")
    assert holdings.of("team/app") == [other]
    assert not holdings.has_any(one)
    holdings.remove(other)
    holdings.remove(other)
    assert len(holdings) == 0
    assert holdings.of("team/app") == []


def test_a_watch_is_disturbed_by_every_mark_that_it_meets() -> None:
    marks = Marks(settling=1)
    before, elsewhere = marks.watch("team/app"), marks.watch("team/other")
    first = marks.set("team/app")
    during = marks.watch("team/app")
    second = marks.set("team/app")
    first.lift()
    still = marks.watch("team/app")
    second.lift()
    after = marks.watch("team/app")
    watches = (before, during, still, after, elsewhere)
    assert [each.undisturbed for each in watches] == [False, False, False, True, True]
    for each in watches:
        marks.unwatch(each)
    marks.set("team/app")
    # It ended before.
    assert after.undisturbed


def test_only_an_answer_of_the_storage_itself_says_that_nothing_follows() -> None:
    assert outcome_is_known(RegistryError(ErrorCode.MANIFEST_UNKNOWN))
    assert outcome_is_known(RegistryError(ErrorCode.DIGEST_INVALID))
    for error in (
        RegistryError(ErrorCode.UNAVAILABLE),
        RegistryError(ErrorCode.UNKNOWN),
        TimeoutError(),
        KeyboardInterrupt(),
    ):
        assert not outcome_is_known(error)
