"""A Redis that is gone, hangs, or takes no changes: what it costs, and what is said of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ResponseError

from metadata_service.cache.breaker import CircuitBreaker
from metadata_service.cache.interface import CacheAwayError, CacheBusyError, CacheSkippedError
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest

DIGEST = Digest.of(b"a layer")
DESCRIPTOR = BlobDescriptor(DIGEST, 7)


@pytest.fixture
async def cache(new_cache, redis_server) -> AsyncIterator[CircuitBreaker]:
    """A cache that allows Redis 200 ms for each step."""
    times = "dialtimeout: 200ms, readtimeout: 200ms, writetimeout: 200ms"
    breaker = CircuitBreaker(
        new_cache(f"{{addr: '{redis_server.address}', {times}}}"), interval=0.1, retry=0.05
    )
    yield breaker
    await breaker.close()


@pytest.fixture
async def reports(cache) -> AsyncIterator[list[str | None]]:
    """What is reported of the cache, which is watched."""
    heard: list[str | None] = []

    async def report(degraded: str | None) -> None:
        heard.append(degraded)

    watching = asyncio.create_task(cache.watch(report))
    yield heard
    watching.cancel()
    await asyncio.wait([watching])


async def until(condition: Callable[[], object], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


async def outcome(call: Awaitable[object]) -> object:
    """What a call gave, or the class of what it raised."""
    try:
        return await call
    except (CacheAwayError, CacheBusyError, ResponseError) as error:
        return type(error)


def value(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"moorage_metadata_cache_{name}")


async def test_a_redis_that_is_gone_costs_one_call_and_the_next_ones_nothing(cache, redis_server) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.kill()
    assert await outcome(cache.get("team/app", DIGEST)) is CacheAwayError
    started = time.monotonic()
    for _ in range(1000):
        assert await outcome(cache.get("team/app", DIGEST)) is CacheSkippedError
        assert await outcome(cache.add("team/app", DIGEST, DESCRIPTOR)) is CacheSkippedError
        assert await outcome(cache.remove("team/app", DIGEST)) is CacheSkippedError
    assert time.monotonic() - started < 3


async def test_a_redis_that_hangs_costs_those_who_are_waiting_one_timeout(cache, redis_server) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.pause()
    started = time.monotonic()
    outcomes = await asyncio.gather(*(outcome(cache.get("team/app", DIGEST)) for _ in range(10)))
    assert set(outcomes) == {CacheAwayError}
    # A connection that is made now hangs as well, so its login's answer is waited for.
    assert time.monotonic() - started < 3 * 0.2 + 1.5
    assert await outcome(cache.get("team/app", DIGEST)) is CacheSkippedError
    redis_server.resume()


async def test_it_is_used_again_when_it_is_back(cache, redis_server, reports) -> None:
    redis_server.kill()
    await until(lambda: cache.degraded)
    redis_server.start()
    await until(lambda: not cache.degraded)
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR


async def test_a_redis_that_sleeps_is_used_again_when_it_wakes(cache, redis_server, reports) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.sleep(1)
    await until(lambda: cache.degraded)
    await until(lambda: not cache.degraded)
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR


async def test_that_it_went_is_noticed_without_a_call_and_reported_once(cache, redis_server, reports) -> None:
    await until(lambda: reports == [None])
    assert (value("available"), value("writable")) == (1, 1)
    redis_server.kill()
    await until(lambda: len(reports) > 1)
    await asyncio.sleep(0.3)
    assert [str(each)[:5] for each in reports] == ["None", "away:"]
    assert value("available") == 0
    redis_server.start()
    await until(lambda: reports[-1] is None)
    assert value("available") == 1


async def test_one_that_is_away_at_the_start_is_reported_and_found_later(
    new_cache, redis_server, logged
) -> None:
    redis_server.kill()
    breaker = CircuitBreaker(new_cache(f"{{addr: '{redis_server.address}'}}"), retry=0.05)
    heard: list[str | None] = []

    async def report(degraded: str | None) -> None:
        heard.append(degraded)

    with logged() as lines:
        watching = asyncio.create_task(breaker.watch(report))
        await until(lambda: heard)
        assert heard[0] is not None
        redis_server.start()
        await until(lambda: heard[-1] is None)
    assert [line["log_level"] for line in lines] == ["warning", "info"]
    watching.cancel()
    await asyncio.wait([watching])
    await breaker.close()


async def test_a_redis_that_takes_no_changes_is_still_asked(cache, redis_server, reports) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.make_read_only()
    assert await outcome(cache.add("team/other", DIGEST, DESCRIPTOR)) is not None
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR
    await until(lambda: "takes no changes" in str(reports[-1]))
    assert (value("available"), value("writable")) == (1, 0)
    redis_server.make_writable()
    # Nobody changes anything, and still it is found out.
    await until(lambda: reports[-1] is None)
    assert value("writable") == 1


@pytest.mark.parametrize(
    ("setting", "content"),
    [("min-replicas-to-write", "1"), ("maxmemory", "1")],
)
async def test_each_way_of_refusing_changes_is_reported_until_it_is_over(
    cache, redis_server, reports, setting: str, content: str
) -> None:
    redis_server.command("CONFIG", "SET", setting, content)
    assert await outcome(cache.add("team/app", DIGEST, DESCRIPTOR)) is not None
    await until(lambda: "takes no changes" in str(cache.degraded))
    redis_server.command("CONFIG", "SET", setting, "0")
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await until(lambda: reports[-1] is None)


async def test_a_cache_that_is_only_busy_stays_in_use(new_cache, redis_server) -> None:
    breaker = CircuitBreaker(
        new_cache(f"{{addr: '{redis_server.address}', readtimeout: 5s, pool: {{maxactive: 1}}}}")
    )
    await breaker.add("team/app", DIGEST, DESCRIPTOR)
    outcomes = await asyncio.gather(*(outcome(breaker.get("team/app", DIGEST)) for _ in range(5)))
    assert outcomes.count(DESCRIPTOR) == 1
    assert outcomes.count(CacheBusyError) == 4
    assert breaker.degraded is None
    assert await breaker.get("team/app", DIGEST) == DESCRIPTOR
    await breaker.close()


async def test_no_password_is_in_what_is_said_of_it(new_cache, redis_server, logged) -> None:
    redis_server.command("CONFIG", "SET", "requirepass", "right")
    breaker = CircuitBreaker(
        new_cache(f"{{addr: '{redis_server.address}', username: me, password: hush-hush}}"), retry=0.05
    )
    heard: list[str | None] = []

    async def report(degraded: str | None) -> None:
        heard.append(degraded)

    with logged() as lines:
        watching = asyncio.create_task(breaker.watch(report))
        await until(lambda: heard)
        await outcome(breaker.get("team/app", DIGEST))
    watching.cancel()
    await asyncio.wait([watching])
    await breaker.close()
    assert "away" in str(heard[0])
    assert lines
    assert "hush-hush" not in f"{lines}{heard}{breaker!r}"
