"""A cluster of Redis nodes: keys are spread, and a node may go or hand its keys on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from metadata_service.cache.interface import CacheAwayError, CacheBusyError
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest
from support.redis import Cluster, running_cluster

REPOSITORIES = [f"team/{number}" for number in range(12)]
DIGEST = Digest.of(b"a layer")
DESCRIPTOR = BlobDescriptor(DIGEST, 7)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test's own, whose nodes may be killed."""
    with running_cluster(tmp_path / "cluster") as cluster:
        yield cluster


async def test_entries_are_spread_over_the_nodes_under_the_same_keys(opened, redis_cluster) -> None:
    cache = opened(f"{{addrs: {redis_cluster.addresses}}}")
    for repository in REPOSITORIES:
        await cache.add(repository, DIGEST, DESCRIPTOR)
    assert [await cache.get(repository, DIGEST) for repository in REPOSITORIES] == [DESCRIPTOR] * 12
    assert all(node.all_keys() for node in redis_cluster.nodes)
    assert redis_cluster.all_keys() == {
        f"blobs::{DIGEST}",
        *(f"repository::{repository}::blobs" for repository in REPOSITORIES),
        *(f"repository::{repository}::blobs::{DIGEST}" for repository in REPOSITORIES),
    }


async def test_a_single_node_s_address_is_enough_when_it_is_said_to_be_a_cluster(
    opened, redis_cluster
) -> None:
    cache = opened(f"{{addrs: ['{redis_cluster.addresses[1]}'], isclustermode: true}}")
    for repository in REPOSITORIES:
        await cache.add(repository, DIGEST, DESCRIPTOR)
    assert all(node.all_keys() for node in redis_cluster.nodes)


async def test_a_removal_leaves_nothing_on_any_node(opened, redis_cluster) -> None:
    cache = opened(f"{{addrs: {redis_cluster.addresses}}}")
    for repository in REPOSITORIES:
        await cache.add(repository, DIGEST, DESCRIPTOR)
    for repository in REPOSITORIES:
        await cache.remove(repository, DIGEST)
    assert redis_cluster.all_keys() == set()


async def test_while_a_node_is_gone_its_keys_are_away_and_then_they_are_back(opened, own_cluster) -> None:
    cache = opened(f"{{addrs: {own_cluster.addresses}}}")
    for repository in REPOSITORIES:
        await cache.add(repository, DIGEST, DESCRIPTOR)
    gone = own_cluster.nodes[0]
    gone.kill()
    with pytest.raises(CacheAwayError):
        await cache.check(writes=False)
    away = 0
    for repository in REPOSITORIES:
        try:
            await cache.get(repository, DIGEST)
        except CacheAwayError:
            away += 1
    assert away
    gone.start()
    await asyncio.to_thread(own_cluster.wait_ready)
    await until_well(cache)
    for repository in REPOSITORIES:
        await cache.add(repository, DIGEST, DESCRIPTOR)
    assert [await cache.get(repository, DIGEST) for repository in REPOSITORIES] == [DESCRIPTOR] * 12


async def test_keys_that_moved_to_another_node_are_found_there(opened, own_cluster) -> None:
    cache = opened(f"{{addrs: {own_cluster.addresses}}}")
    source, target = own_cluster.nodes[0], own_cluster.nodes[1]
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    for key in sorted(own_cluster.all_keys() & source.all_keys()):
        slot = int(source.command("CLUSTER", "KEYSLOT", key))
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.command("CLUSTER", "MYID"))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.command("CLUSTER", "MYID"))
        for name in source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
        # In between, the old node sends who asks on to the new one.
        with suppress(CacheBusyError):
            assert await cache.get("team/app", DIGEST) == DESCRIPTOR
        for node in own_cluster.nodes:
            node.command("CLUSTER", "SETSLOT", slot, "NODE", target.command("CLUSTER", "MYID"))
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR
    assert source.all_keys() == set()


async def until_well(cache) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await cache.check(writes=True)
            except (CacheAwayError, ResponseError):
                await asyncio.sleep(0.1)
