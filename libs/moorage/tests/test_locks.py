"""Locks by key."""

from __future__ import annotations

import asyncio

import pytest

from moorage.locks import KeyedLocks, LockTimeoutError


async def test_a_lock_is_held_by_one_and_forgotten_after_the_last() -> None:
    locks: KeyedLocks[str] = KeyedLocks()
    inside = 0

    async def enter(key: str) -> None:
        nonlocal inside
        async with locks.hold(key):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(enter("a") for _ in range(20)))
    assert len(locks) == 0


async def test_locks_of_different_keys_do_not_wait_for_each_other() -> None:
    locks: KeyedLocks[str] = KeyedLocks()
    async with locks.hold("a"), locks.hold("b", timeout=0.01):
        assert len(locks) == 2


async def test_a_lock_that_cannot_be_had_in_time_is_given_up() -> None:
    locks: KeyedLocks[str] = KeyedLocks()
    async with locks.hold("a"):
        with pytest.raises(LockTimeoutError):
            async with locks.hold("a", timeout=0.01):
                pytest.fail("two holders")
    async with locks.hold("a", timeout=0.01):
        assert len(locks) == 1


async def test_a_waiter_that_is_cancelled_leaves_no_trace() -> None:
    locks: KeyedLocks[str] = KeyedLocks()

    async def wait() -> None:
        async with locks.hold("a"):
            pytest.fail("two holders")

    async with locks.hold("a"):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    assert len(locks) == 0


async def test_a_time_out_of_the_holder_is_the_holders_own() -> None:
    locks: KeyedLocks[str] = KeyedLocks()
    with pytest.raises(TimeoutError):
        async with locks.hold("a", timeout=1):
            raise TimeoutError
