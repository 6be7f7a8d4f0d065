"""What every implementation of the descriptor cache has to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from metadata_service.cache import DescriptorCache, open_cache
from metadata_service.cache.breaker import CircuitBreaker
from metadata_service.cache.inmemory import InMemoryDescriptorCache
from metadata_service.cache.off import NoDescriptorCache
from metadata_service.descriptors import BlobDescriptor
from moorage.config import parse
from moorage.digest import Digest

DIGEST = Digest.of(b"a layer")
ALIAS = Digest.of(b"a layer", "sha512")
DESCRIPTOR = BlobDescriptor(DIGEST, 7)


# How long an answer takes is not what these tests are about.
_PATIENT = "dialtimeout: 20s, readtimeout: 20s, writetimeout: 20s"


# Each implementation, by the fixtures that it needs.
def _redis(new_cache, server) -> DescriptorCache:
    return CircuitBreaker(new_cache(f"{{addr: '{server.address}', {_PATIENT}}}"))


def _cluster(new_cache, cluster) -> DescriptorCache:
    return CircuitBreaker(new_cache(f"{{addrs: {cluster.addresses}, {_PATIENT}}}"))


def _sentinel(new_cache, sentinels) -> DescriptorCache:
    section = f"{{addrs: {sentinels.addresses}, mastername: {sentinels.name}, {_PATIENT}}}"
    return CircuitBreaker(new_cache(section))


IMPLEMENTATIONS: dict[str, tuple[Callable[..., DescriptorCache], tuple[str, ...]]] = {
    "inmemory": (lambda: InMemoryDescriptorCache(100), ()),
    "off": (NoDescriptorCache, ()),
    "redis": (_redis, ("new_cache", "redis_server")),
    "redis cluster": (_cluster, ("new_cache", "redis_cluster")),
    "redis sentinel": (_sentinel, ("new_cache", "redis_sentinels")),
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def cache(request):
    make, needs = IMPLEMENTATIONS[request.param]
    cache = make(*(request.getfixturevalue(name) for name in needs))
    # Whether it is expected to remember anything.
    cache.remembers = request.param != "off"
    yield cache
    await cache.close()


async def test_it_knows_nothing_at_first(cache) -> None:
    assert await cache.get("team/app", DIGEST) is None


async def test_it_answers_what_was_added(cache) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await cache.add("team/app", ALIAS, DESCRIPTOR)
    for digest in (DIGEST, ALIAS):
        assert await cache.get("team/app", digest) == (DESCRIPTOR if cache.remembers else None)


async def test_the_last_addition_counts(cache) -> None:
    newer = BlobDescriptor(DIGEST, 7, "application/x")
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await cache.add("team/app", DIGEST, newer)
    assert await cache.get("team/app", DIGEST) == (newer if cache.remembers else None)


async def test_what_one_repository_has_is_no_answer_for_another(cache) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    for name in ("team/other", "team", "team/app/below"):
        assert await cache.get(name, DIGEST) is None


async def test_what_was_removed_stays_forgotten_when_another_repository_adds_it(cache) -> None:
    # CVE-2026-35172
    await cache.add("team/a", DIGEST, DESCRIPTOR)
    await cache.add("team/b", DIGEST, DESCRIPTOR)
    await cache.remove("team/a", DIGEST)
    await cache.add("team/b", DIGEST, DESCRIPTOR)
    assert await cache.get("team/b", DIGEST) == (DESCRIPTOR if cache.remembers else None)
    assert await cache.get("team/a", DIGEST) is None


async def test_what_the_bytes_are_called_can_differ_between_repositories(cache) -> None:
    here, there = BlobDescriptor(DIGEST, 7, "application/x"), BlobDescriptor(DIGEST, 7, "application/y")
    await cache.add("team/a", DIGEST, here)
    await cache.add("team/b", DIGEST, there)
    answers = [await cache.get(name, DIGEST) for name in ("team/a", "team/b")]
    assert answers == ([here, there] if cache.remembers else [None, None])


async def test_a_large_blob_s_size_is_kept_exactly(cache) -> None:
    large = BlobDescriptor(DIGEST, 5 * 2**40 + 1)
    await cache.add("team/app", DIGEST, large)
    assert await cache.get("team/app", DIGEST) == (large if cache.remembers else None)


async def test_many_calls_at_once_are_answered_each_with_its_own(cache) -> None:
    digests = [Digest.of(str(number).encode()) for number in range(60)]

    async def add_and_get(number: int, digest: Digest) -> BlobDescriptor | None:
        await cache.add(f"team/{number % 3}", digest, BlobDescriptor(digest, number))
        return await cache.get(f"team/{number % 3}", digest)

    answers = await asyncio.gather(*(add_and_get(*each) for each in enumerate(digests)))
    expected = [BlobDescriptor(digest, number) for number, digest in enumerate(digests)]
    assert answers == (expected if cache.remembers else [None] * len(digests))


async def test_it_says_that_it_is_well(cache) -> None:
    reports: asyncio.Queue[str | None] = asyncio.Queue()
    watching = asyncio.create_task(cache.watch(reports.put))
    async with asyncio.timeout(10):
        assert await reports.get() is None
    watching.cancel()
    await asyncio.wait([watching])


async def test_removing_what_is_not_there_is_fine(cache) -> None:
    await cache.remove("team/app", DIGEST)
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await cache.remove("team/app", ALIAS)
    assert await cache.get("team/app", DIGEST) == (DESCRIPTOR if cache.remembers else None)


class TestInMemory:
    async def test_forgets_what_nobody_asked_for_the_longest(self) -> None:
        cache = InMemoryDescriptorCache(3)
        digests = [Digest.of(bytes([number])) for number in range(4)]
        for digest in digests[:3]:
            await cache.add("team/app", digest, BlobDescriptor(digest, 1))
        assert await cache.get("team/app", digests[0]) is not None
        await cache.add("team/app", digests[3], BlobDescriptor(digests[3], 1))
        known = [await cache.get("team/app", digest) is not None for digest in digests]
        assert known == [True, False, True, True]

    @pytest.mark.parametrize("size", [0, -1])
    async def test_of_no_size_has_no_limit(self, size: int) -> None:
        cache = InMemoryDescriptorCache(size)
        digests = [Digest.of(str(number).encode()) for number in range(20_000)]
        for digest in digests:
            await cache.add("team/app", digest, BlobDescriptor(digest, 1))
        assert await cache.get("team/app", digests[0]) is not None


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ("{inmemory: {}}", NoDescriptorCache),
        ("{inmemory: {}, cache: {blobdescriptor: inmemory}}", InMemoryDescriptorCache),
        ("{inmemory: {}, cache: {layerinfo: inmemory}}", InMemoryDescriptorCache),
        ("{inmemory: {}, cache: {blobdescriptor: nonsense}}", NoDescriptorCache),
        ("{inmemory: {}, cache: {blobdescriptor: redis}}", CircuitBreaker),
        ("{inmemory: {}, cache: {layerinfo: redis}}", CircuitBreaker),
    ],
)
async def test_the_configuration_chooses_the_cache(settings: str, kind: type) -> None:
    config = parse(f"version: 0.1\nstorage: {settings}\nredis: {{addr: 'localhost:1'}}\n", {})
    cache = open_cache(config)
    assert type(cache) is kind
    await cache.close()


async def test_the_configured_size_is_kept() -> None:
    settings = "{inmemory: {}, cache: {blobdescriptor: inmemory, blobdescriptorsize: 1}}"
    cache = open_cache(
        parse(f"version: 0.1\nstorage: {settings}\n", {}),
    )
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await cache.add("team/app", ALIAS, DESCRIPTOR)
    assert await cache.get("team/app", DIGEST) is None
