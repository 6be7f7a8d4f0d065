"""Caches over real Redis servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from metadata_service.cache.redis import RedisDescriptorCache, open_redis_cache
from moorage.config import parse
from support.redis import Cluster, RedisServer, Sentinels, running_cluster, running_redis, running_sentinels


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own, empty."""
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(shared_cluster: Cluster) -> Cluster:
    """A cluster of three nodes, empty."""
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture(scope="session")
def shared_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with running_sentinels(tmp_path_factory.mktemp("sentinels")) as sentinels:
        yield sentinels


@pytest.fixture
def redis_sentinels(shared_sentinels: Sentinels) -> Sentinels:
    """Two sentinels with their master, which is empty, and its replica. None of them may be killed."""
    shared_sentinels.master.command("FLUSHALL")
    return shared_sentinels


Open = Callable[[str], RedisDescriptorCache]


@pytest.fixture
def new_cache() -> Open:
    """`new_cache("{addr: 'host:port'}")`: the cache of a section `redis`, for the test to close."""

    def open_(section: str) -> RedisDescriptorCache:
        storage = "{inmemory: , cache: {blobdescriptor: redis}}"
        return open_redis_cache(parse(f"version: 0.1\nstorage: {storage}\nredis: {section}\n", {}).redis)

    return open_


@pytest.fixture
async def opened(new_cache: Open) -> AsyncIterator[Open]:
    """The same, closed after the test."""
    async with AsyncExitStack() as stack:

        def open_(section: str) -> RedisDescriptorCache:
            cache = new_cache(section)
            stack.push_async_callback(cache.close)
            return cache

        yield open_
