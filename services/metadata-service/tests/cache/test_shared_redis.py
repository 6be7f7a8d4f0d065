"""The metadata service with a real Redis, which may go, come back with what was removed, or be shared.

Whatever Redis does: a blob is known exactly where a repository links it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from moorage.digest import Digest
from moorage.errors import RegistryError
from moorage.rpc.health import DESCRIPTOR_CACHE, is_degraded, is_serving
from support.redis import RedisServer

CONTENT = b"a layer"
DIGEST = str(Digest.of(CONTENT))
A, B = "team/a", "team/b"

Start = Callable[..., Awaitable]


def count(name: str) -> float:
    return REGISTRY.get_sample_value(f"{name}_total") or 0


def settings(server: RedisServer, **keys: str) -> str:
    """A registry with this Redis, which may take 200 ms for each step."""
    times = {"dialtimeout": "200ms", "readtimeout": "200ms", "writetimeout": "200ms", **keys}
    redis = ", ".join(f"{name}: {value}" for name, value in {"addr": f"'{server.address}'", **times}.items())
    cache = "cache: {blobdescriptor: redis}"
    return f"storage: {{inmemory: {{}}, delete: {{enabled: true}}, {cache}}}\nredis: {{{redis}}}\n"


@pytest.fixture
def start_with_redis(stack, driver, redis_server) -> Start:
    """`await start_with_redis(lease="0")`: a metadata service over the storage in memory and this Redis."""

    async def start(**options: str):
        return await stack.registry(driver, settings(redis_server), **options)

    return start


async def until(condition: Callable[[], object], timeout: float = 15) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)


def link_of(repository: str, digest: str = DIGEST) -> str:
    return f"{repository}/_layers/{digest.replace(':', '/')}/link"


def write_as_distribution(server: RedisServer, repository: str, digest: str = DIGEST, size: int = 7) -> None:
    server.client.sadd(f"repository::{repository}::blobs", digest)
    entry = {"digest": digest, "size": size, "mediatype": "application/octet-stream"}
    server.client.hset(f"blobs::{digest}", mapping=entry)
    server.client.hset(f"repository::{repository}::blobs::{digest}", "mediatype", entry["mediatype"])


async def test_a_push_fills_it_and_a_stat_finds_the_entry(start_with_redis, redis_server) -> None:
    registry = await start_with_redis()
    await registry.push_blob(A, CONTENT)
    assert redis_server.client.smembers(f"repository::{A}::blobs") == {DIGEST}
    before = count("registry_storage_cache_requests"), count("registry_storage_cache_hits")
    assert (await registry.stat(A, DIGEST)).size == len(CONTENT)
    after = count("registry_storage_cache_requests"), count("registry_storage_cache_hits")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


async def test_an_entry_of_distribution_s_is_an_answer_for_what_the_repository_links(
    start_with_redis, redis_server
) -> None:
    registry = await start_with_redis()
    await registry.push_blob(A, CONTENT)
    redis_server.command("FLUSHALL")
    write_as_distribution(redis_server, A)
    hits = count("registry_storage_cache_hits")
    assert (await registry.stat(A, DIGEST)).digest == DIGEST
    assert count("registry_storage_cache_hits") == hits + 1


async def test_an_entry_of_what_the_repository_does_not_link_is_no_answer_and_goes(
    start_with_redis, redis_server
) -> None:
    registry = await start_with_redis()
    await registry.store_bytes(CONTENT)
    write_as_distribution(redis_server, A)
    stale = count("moorage_metadata_cache_stale")
    assert not await registry.has_blob(A, DIGEST)
    assert count("moorage_metadata_cache_stale") == stale + 1
    assert redis_server.all_keys() == set()


async def test_a_wrong_size_is_put_right(start_with_redis, redis_server, stack, driver) -> None:
    await (await start_with_redis()).push_blob(A, CONTENT)
    write_as_distribution(redis_server, A, size=70)
    registry = await start_with_redis()
    assert (await registry.stat(A, DIGEST)).size == len(CONTENT)
    assert redis_server.client.hget(f"blobs::{DIGEST}", "size") == str(len(CONTENT))


# What may happen to Redis around the removal of a blob.


async def nothing(server: RedisServer) -> None:
    return


async def emptied(server: RedisServer) -> None:
    server.command("FLUSHALL")


async def gone_and_back_with_what_it_had(server: RedisServer) -> None:
    """What was removed is there again, as after a crash, or a fail-over to a replica that was behind."""
    server.kill()
    server.start()


async def hanging(server: RedisServer) -> None:
    server.pause()
    asyncio.get_running_loop().call_later(1.0, server.resume)


async def read_only(server: RedisServer) -> None:
    server.make_read_only()


def well_again(server: RedisServer) -> None:
    server.resume()
    server.make_writable()


@pytest.mark.parametrize("after", [nothing, emptied, gone_and_back_with_what_it_had, hanging, read_only])
@pytest.mark.parametrize("during", [nothing, hanging, read_only])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_delete_is_a_revocation_whatever_another_repository_and_redis_do(
    start_with_redis, redis_server, during, after, restarted: bool
) -> None:
    """CVE-2026-35172: what was removed from A came back when B was read."""
    registry = await start_with_redis()
    for repository in (A, B):
        await registry.push_blob(repository, CONTENT)
        await registry.stat(repository, DIGEST)
    redis_server.save()
    await during(redis_server)
    await registry.unlink(A, DIGEST)
    assert not await registry.has_blob(A, DIGEST)
    well_again(redis_server)
    await after(redis_server)
    if restarted:
        registry = await start_with_redis()
    for _ in range(2):
        assert await registry.has_blob(B, DIGEST)
        assert not await registry.has_blob(A, DIGEST)
    well_again(redis_server)
    # Somebody who shares this Redis fills it again, with what it remembers.
    write_as_distribution(redis_server, B)
    redis_server.client.sadd(f"repository::{A}::blobs", DIGEST)
    assert not await registry.has_blob(A, DIGEST)
    assert await registry.has_blob(B, DIGEST)


async def test_what_was_removed_while_redis_was_away_is_cleared_when_it_is_back(
    start_with_redis, redis_server
) -> None:
    """For those who share it: older registries believe what they find there."""
    registry = await start_with_redis()
    for repository in (A, B):
        await registry.push_blob(repository, CONTENT)
    redis_server.save()
    redis_server.kill()
    await registry.unlink(A, DIGEST)
    redis_server.start()
    assert redis_server.client.sismember(f"repository::{A}::blobs", DIGEST)
    await until(lambda: not redis_server.client.sismember(f"repository::{A}::blobs", DIGEST))
    assert redis_server.client.sismember(f"repository::{B}::blobs", DIGEST)


async def test_after_an_older_registry_s_delete_a_blob_stays_unknown(start_with_redis, redis_server) -> None:
    """It removes the link and the common entry, not the membership."""
    registry = await start_with_redis()
    for repository in (A, B):
        await registry.push_blob(repository, CONTENT)
    await registry.erase(link_of(A))
    redis_server.client.hdel(f"blobs::{DIGEST}", "digest", "length", "mediatype")
    assert await registry.has_blob(B, DIGEST)
    assert redis_server.client.hget(f"blobs::{DIGEST}", "digest") == DIGEST
    assert not await registry.has_blob(A, DIGEST)


async def test_after_a_garbage_collection_before_the_start_no_blob_is_said_to_be_there(
    start_with_redis, redis_server
) -> None:
    """The family of "layer already exists": the bytes are gone, the link and the cache's entry are not."""
    registry = await start_with_redis()
    await registry.push_blob(A, CONTENT)
    await registry.lose_bytes(DIGEST)
    registry = await start_with_redis()
    assert not await registry.has_blob(A, DIGEST)
    assert redis_server.client.exists(f"blobs::{DIGEST}") == 0
    await registry.push_blob(A, CONTENT)
    assert await registry.has_blob(A, DIGEST)


@pytest.mark.parametrize("cache", ["redis", "inmemory"])
@pytest.mark.parametrize("what", ["link", "bytes"])
async def test_without_leases_others_may_change_storage_behind_any_cache(
    stack, driver, redis_server, cache: str, what: str
) -> None:
    text = settings(redis_server).replace("blobdescriptor: redis", f"blobdescriptor: {cache}")
    registry = await stack.registry(driver, text, lease="0s")
    await registry.push_blob(A, CONTENT)
    assert await registry.has_blob(A, DIGEST)
    if what == "link":
        await registry.erase(link_of(A))
    else:
        await registry.lose_bytes(DIGEST)
    assert not await registry.has_blob(A, DIGEST)


async def test_an_alias_goes_with_the_canonical_digest(start_with_redis, redis_server, sha) -> None:
    registry = await start_with_redis()
    alias = await registry.push_blob(A, CONTENT, "sha512")
    assert (await registry.stat(A, alias)).digest == DIGEST
    redis_server.save()
    await registry.unlink(A, DIGEST)
    await gone_and_back_with_what_it_had(redis_server)
    assert not await registry.has_blob(A, alias)
    assert not await registry.has_blob(A, DIGEST)


@pytest.mark.parametrize("trouble", ["killed", "paused", "read-only", "sleeping"])
async def test_pushes_reads_and_deletes_go_on_and_stay_right(
    start_with_redis, redis_server, trouble: str
) -> None:
    registry = await start_with_redis()
    await registry.push_blob(A, CONTENT)
    match trouble:
        case "killed":
            redis_server.kill()
        case "paused":
            redis_server.pause()
        case "read-only":
            redis_server.make_read_only()
        case "sleeping":
            redis_server.sleep(5)
    started = time.monotonic()
    for number in range(10):
        digest = await registry.push_blob(A, f"layer {number}".encode())
        assert await registry.has_blob(A, digest)
        assert await registry.has_blob(A, DIGEST)
        await registry.unlink(A, digest)
        assert not await registry.has_blob(A, digest)
    manifest = await registry.push(A, "latest")
    assert await registry.has_manifest(A, manifest)
    # Without the circuit breaker each of these calls would have waited.
    assert time.monotonic() - started < 8
    redis_server.resume()


async def test_emptied_in_the_middle_of_a_push_it_is_filled_again(start_with_redis, redis_server) -> None:
    registry = await start_with_redis()
    digest = await registry.push_blob(A, CONTENT)
    redis_server.command("FLUSHALL")
    assert await registry.has_blob(A, digest)
    await registry.push(A, "latest")
    redis_server.command("FLUSHALL")
    assert await registry.has_manifest(A, "latest")
    assert await registry.has_blob(A, digest)
    assert redis_server.client.sismember(f"repository::{A}::blobs", digest)


async def test_its_health_is_told_apart_from_the_service_s(start_with_redis, redis_server) -> None:
    registry = await start_with_redis()

    async def degraded() -> bool:
        return await is_degraded(registry.channel, DESCRIPTOR_CACHE, timeout=5)

    async def becomes(state: bool) -> None:
        async with asyncio.timeout(15):
            while await degraded() is not state:
                await asyncio.sleep(0.05)

    await becomes(False)
    redis_server.kill()
    await becomes(True)
    assert await is_serving(registry.channel, timeout=5)
    redis_server.start()
    await becomes(False)


async def test_it_starts_without_redis_and_uses_it_when_it_comes(start_with_redis, redis_server) -> None:
    redis_server.kill()
    registry = await start_with_redis()
    await registry.push_blob(A, CONTENT)
    assert await registry.has_blob(A, DIGEST)
    redis_server.start()

    async def filled() -> bool:
        await registry.stat(A, DIGEST)
        return bool(redis_server.client.sismember(f"repository::{A}::blobs", DIGEST))

    async with asyncio.timeout(15):
        while not await filled():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", range(3))
async def test_a_random_history_with_a_redis_that_does_anything(
    start_with_redis, redis_server, seed: int
) -> None:
    """Compared with what a registry without a cache would answer: the set of links."""
    chance = random.Random(seed)
    registry = await start_with_redis()
    contents = [f"layer {number}".encode() for number in range(4)]
    repositories = ["team/a", "team/b", "team/c"]
    linked: set[tuple[str, bytes]] = set()

    async def disturb() -> None:
        redis_server.resume()
        match chance.choice(["save", "flush", "back", "pause", "foreign"]):
            case "save":
                redis_server.save()
            case "flush":
                redis_server.command("FLUSHALL")
            case "back":
                redis_server.kill()
                redis_server.start()
            case "pause":
                redis_server.pause()
                asyncio.get_running_loop().call_later(0.15, redis_server.resume)
            case "foreign":
                digest = str(Digest.of(chance.choice(contents)))
                write_as_distribution(redis_server, chance.choice(repositories), digest)
        await asyncio.sleep(chance.choice([0, 0.3]))

    for _ in range(120):
        repository, content = chance.choice(repositories), chance.choice(contents)
        digest, known = str(Digest.of(content)), (repository, content) in linked
        match chance.choice(["push", "unlink", "stat", "stat", "mount", "disturb"]):
            case "push":
                await registry.push_blob(repository, content)
                linked.add((repository, content))
            case "unlink":
                if known:
                    await registry.unlink(repository, digest)
                    linked.remove((repository, content))
            case "stat":
                assert await registry.has_blob(repository, digest) is known, (repository, content)
            case "mount":
                source = chance.choice(repositories)
                try:
                    await registry.mount(repository, source, digest)
                except RegistryError:
                    assert (source, content) not in linked
                else:
                    assert (source, content) in linked
                    linked.add((repository, content))
            case "disturb":
                await disturb()
    for repository in repositories:
        for content in contents:
            known = (repository, content) in linked
            assert await registry.has_blob(repository, str(Digest.of(content))) is known
