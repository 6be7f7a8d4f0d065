"""Redis behind sentinels: the master is found by its name, also after another one took over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from metadata_service.cache.breaker import CircuitBreaker
from metadata_service.cache.interface import CacheAwayError
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest
from support.processes import free_port
from support.redis import running_sentinels

DIGEST = Digest.of(b"a layer")
DESCRIPTOR = BlobDescriptor(DIGEST, 7)


async def test_the_master_is_found_by_its_name(opened, redis_sentinels) -> None:
    cache = opened(f"{{addrs: {redis_sentinels.addresses}, mastername: {redis_sentinels.name}}}")
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    assert redis_sentinels.master.client.sismember("repository::team/app::blobs", str(DIGEST))


async def test_one_sentinel_that_answers_is_enough(opened, redis_sentinels) -> None:
    addresses = [f"127.0.0.1:{free_port()}", *redis_sentinels.addresses[1:]]
    cache = opened(f"{{addrs: {addresses}, mastername: {redis_sentinels.name}}}")
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR


async def test_a_master_that_no_sentinel_knows_is_away(opened, redis_sentinels) -> None:
    cache = opened(f"{{addrs: {redis_sentinels.addresses}, mastername: another}}")
    with pytest.raises(CacheAwayError, match="another"):
        await cache.get("team/app", DIGEST)


async def test_sentinels_have_a_password_of_their_own(opened, tmp_path: Path) -> None:
    with running_sentinels(tmp_path / "s", count=1, password="hush") as sentinels:
        where = f"addrs: {sentinels.addresses}, mastername: {sentinels.name}"
        with pytest.raises(CacheAwayError) as caught:
            await opened(f"{{{where}, sentinelpassword: wrong}}").get("team/app", DIGEST)
        assert "wrong" not in str(caught.value)
        cache = opened(f"{{{where}, sentinelpassword: hush}}")
        await cache.add("team/app", DIGEST, DESCRIPTOR)


async def test_when_another_master_takes_over_the_cache_goes_on_there(new_cache, tmp_path: Path) -> None:
    with running_sentinels(tmp_path / "s") as sentinels:
        cache = CircuitBreaker(
            new_cache(f"{{addrs: {sentinels.addresses}, mastername: {sentinels.name}}}"), retry=0.05
        )
        await cache.add("team/app", DIGEST, DESCRIPTOR)
        reports: list[str | None] = []

        async def report(degraded: str | None) -> None:
            reports.append(degraded)

        watching = asyncio.create_task(cache.watch(report))
        async with asyncio.timeout(20):
            while not reports:
                await asyncio.sleep(0.01)
        new = await asyncio.to_thread(sentinels.fail_over)
        async with asyncio.timeout(20):
            while True:
                try:
                    await cache.add("team/app", DIGEST, DESCRIPTOR)
                    break
                except CacheAwayError:
                    await asyncio.sleep(0.05)
        assert new.client.sismember("repository::team/app::blobs", str(DIGEST))
        assert await cache.get("team/app", DIGEST) == DESCRIPTOR
        watching.cancel()
        await asyncio.wait([watching])
        await cache.close()
        assert reports[0] is None


async def test_a_master_that_became_a_replica_is_left(opened, tmp_path: Path) -> None:
    with running_sentinels(tmp_path / "s") as sentinels:
        cache = opened(f"{{addrs: {sentinels.addresses}, mastername: {sentinels.name}}}")
        await cache.add("team/app", DIGEST, DESCRIPTOR)
        new = await asyncio.to_thread(sentinels.switch)
        # The first change finds out, over the old connection, that the old one takes none.
        for _ in range(3):
            try:
                await cache.add("team/other", DIGEST, DESCRIPTOR)
                break
            except CacheAwayError:
                continue
        assert new.client.sismember("repository::team/other::blobs", str(DIGEST))
