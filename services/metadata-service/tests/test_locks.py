from __future__ import annotations

import asyncio

import pytest

from metadata_service.locks import KeyedLocks

KEY = ("repository", "tag", "v1")
OTHER = ("repository", "tag", "v2")


@pytest.fixture
def locks() -> KeyedLocks:
    return KeyedLocks()


class Holder:
    """A task that holds a lock until it is told to let go."""

    def __init__(self, holding) -> None:
        self.has_it = False
        self._let_go = asyncio.Event()
        self._task = asyncio.create_task(self._run(holding))

    async def _run(self, holding) -> None:
        async with holding:
            self.has_it = True
            await self._let_go.wait()
            self.has_it = False

    async def let_go(self) -> None:
        self._let_go.set()
        await self._task
        await settle()

    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_share_do_not_wait_for_each_other(locks) -> None:
    holders = [Holder(locks.shared([KEY])) for _ in range(3)]
    await settle()
    assert all(holder.has_it for holder in holders)
    for holder in holders:
        await holder.let_go()


async def test_who_excludes_waits_for_all_and_lets_nobody_in(locks) -> None:
    first = Holder(locks.shared([KEY]))
    await settle()
    excluding, second = Holder(locks.exclusive(KEY)), Holder(locks.shared([KEY]))
    await settle()
    assert (first.has_it, excluding.has_it, second.has_it) == (True, False, False)
    await first.let_go()
    assert (excluding.has_it, second.has_it) == (True, False)
    await excluding.let_go()
    assert second.has_it
    await second.let_go()


async def test_other_keys_are_other_locks(locks) -> None:
    holders = [Holder(locks.exclusive(KEY)), Holder(locks.exclusive(OTHER))]
    await settle()
    assert all(holder.has_it for holder in holders)
    for holder in holders:
        await holder.let_go()


async def test_who_gives_up_waiting_holds_up_nobody(locks) -> None:
    first = Holder(locks.shared([KEY]))
    await settle()
    excluding, second = Holder(locks.exclusive(KEY)), Holder(locks.shared([KEY]))
    await settle()
    await excluding.cancel()
    assert second.has_it
    await second.let_go()
    await first.let_go()


async def test_a_turn_that_comes_while_its_holder_gives_up_passes_on(locks) -> None:
    first = Holder(locks.exclusive(KEY))
    await settle()
    second, third = Holder(locks.exclusive(KEY)), Holder(locks.exclusive(KEY))
    await settle()
    first._let_go.set()
    # The release and the cancellation meet in one round of the loop.
    await asyncio.sleep(0)
    second._task.cancel()
    await settle()
    assert third.has_it
    await third.let_go()


async def test_several_keys_in_any_order_never_wait_for_each_other_in_a_circle(locks) -> None:
    async def share(keys) -> None:
        async with locks.shared(keys):
            await asyncio.sleep(0)

    async def exclude(key) -> None:
        async with locks.exclusive(key):
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(
            *(share(keys) for keys in ([KEY, OTHER], [OTHER, KEY]) for _ in range(30)),
            *(exclude(key) for key in (KEY, OTHER) for _ in range(30)),
        )


async def test_nothing_is_left_of_a_lock_that_nobody_holds(locks) -> None:
    for _ in range(3):
        first, second = Holder(locks.exclusive(KEY)), Holder(locks.shared([KEY, OTHER]))
        await settle()
        await second.cancel()
        await first.let_go()
    assert not locks._locks
