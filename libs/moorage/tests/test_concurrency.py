"""Questions that come up together are asked together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from moorage.concurrency import Together


class Asked:
    """Answers each item with its length, and remembers each call's items."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, items: Sequence[str]) -> list[int]:
        self.calls.append(list(items))
        await self.go.wait()
        if "bad" in items:
            raise LookupError("bad")
        return [len(item) for item in items]


@pytest.fixture
def asked() -> Asked:
    return Asked()


async def test_what_comes_up_in_one_tick_is_asked_in_one_call(asked: Asked) -> None:
    together = Together(asked, most=10)

    assert await asyncio.gather(*map(together.get, ["a", "bb", "ccc"])) == [1, 2, 3]

    assert asked.calls == [["a", "bb", "ccc"]]


async def test_equal_items_are_asked_for_once(asked: Asked) -> None:
    together = Together(asked, most=10)

    assert await asyncio.gather(*map(together.get, ["a", "bb", "a"])) == [1, 2, 1]

    assert asked.calls == [["a", "bb"]]


async def test_what_comes_up_later_is_asked_anew(asked: Asked) -> None:
    together = Together(asked, most=10)

    assert await together.get("a") == 1
    assert await together.get("a") == 1

    assert asked.calls == [["a"], ["a"]]


async def test_a_call_has_no_more_items_than_allowed(asked: Asked) -> None:
    together = Together(asked, most=2)

    assert await asyncio.gather(*map(together.get, ["a", "bb", "ccc"])) == [1, 2, 3]

    assert asked.calls == [["a", "bb"], ["ccc"]]


async def test_one_item_s_failure_is_not_that_of_the_others(asked: Asked) -> None:
    together = Together(asked, most=10)

    good, bad = await asyncio.gather(*map(together.get, ["a", "bad"]), return_exceptions=True)

    assert good == 1
    assert str(bad) == "bad"
    assert sorted(asked.calls) == [["a"], ["a", "bad"], ["bad"]]


async def test_all_who_ask_for_an_item_get_its_failure(asked: Asked) -> None:
    together = Together(asked, most=10)

    results = await asyncio.gather(*map(together.get, ["bad", "bad"]), return_exceptions=True)

    assert [str(each) for each in results] == ["bad", "bad"]
    assert asked.calls == [["bad"]]


async def test_who_is_cancelled_takes_nobody_along(asked: Asked) -> None:
    asked.go.clear()
    together = Together(asked, most=10)
    first, second = (asyncio.ensure_future(together.get(item)) for item in ("a", "bb"))
    await asyncio.sleep(0.01)

    first.cancel()
    asked.go.set()

    assert await second == 2
    assert first.cancelled()


async def test_a_failure_that_nobody_waits_for_is_no_noise(asked: Asked, caplog) -> None:
    asked.go.clear()
    together = Together(asked, most=10)
    waiting = asyncio.ensure_future(together.get("bad"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    asked.go.set()
    await asyncio.sleep(0.01)

    assert caplog.records == []
