"""The rules around the descriptor cache: no answer outlives its link, no failure harms a request."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from metadata_service.cache import RepositoryDescriptors, SeenBytes
from metadata_service.cache.inmemory import InMemoryDescriptorCache
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError

DIGEST = Digest.of(b"a layer")
ALIAS = Digest.of(b"a layer", "sha512")
DESCRIPTOR = BlobDescriptor(DIGEST, 7)
REPOSITORY = "team/app"


class UnreliableCache(InMemoryDescriptorCache):
    """A cache in memory whose connection can break, and whose additions can take their time."""

    def __init__(self) -> None:
        super().__init__(100)
        self.broken = False
        self.adding = asyncio.Event()
        self.may_add = asyncio.Event()
        self.may_add.set()

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        self._check()
        return await super().get(repository, digest)

    async def add(self, repository: str, digest: Digest, descriptor: BlobDescriptor) -> None:
        self._check()
        self.adding.set()
        await self.may_add.wait()
        await super().add(repository, digest, descriptor)

    async def remove(self, repository: str, digest: Digest) -> None:
        self._check()
        await super().remove(repository, digest)

    def _check(self) -> None:
        if self.broken:
            raise ConnectionResetError("the cache went away")


@pytest.fixture
def cache() -> UnreliableCache:
    return UnreliableCache()


@pytest.fixture
def descriptors(cache) -> RepositoryDescriptors:
    return RepositoryDescriptors(cache, settling=0.3)


async def fill(
    descriptors: RepositoryDescriptors, digest: Digest = DIGEST, repository: str = REPOSITORY
) -> None:
    await descriptors.fill(descriptors.begin(repository), digest, DESCRIPTOR)


def count(name: str) -> float:
    return REGISTRY.get_sample_value(f"registry_storage_cache_{name}_total") or 0


async def test_what_was_filled_is_answered(descriptors) -> None:
    assert await descriptors.get(REPOSITORY, DIGEST) is None
    await fill(descriptors)
    assert await descriptors.get(REPOSITORY, DIGEST) == DESCRIPTOR
    assert await descriptors.get("team/other", DIGEST) is None


async def test_what_was_removed_is_not_answered(descriptors) -> None:
    await fill(descriptors)
    async with descriptors.removing(REPOSITORY, [DIGEST]):
        pass
    assert await descriptors.get(REPOSITORY, DIGEST) is None


async def test_a_read_that_started_before_a_removal_fills_nothing_after_it(descriptors) -> None:
    ticket = descriptors.begin(REPOSITORY)
    async with descriptors.removing(REPOSITORY, [DIGEST]):
        during = descriptors.begin(REPOSITORY)
    for each in (ticket, during):
        await descriptors.fill(each, DIGEST, DESCRIPTOR)
        assert await descriptors.get(REPOSITORY, DIGEST) is None
    await fill(descriptors)
    assert await descriptors.get(REPOSITORY, DIGEST) == DESCRIPTOR


async def test_a_fill_on_its_way_to_the_cache_does_not_overtake_a_removal(descriptors, cache) -> None:
    cache.may_add.clear()
    filling = asyncio.create_task(fill(descriptors))
    await cache.adding.wait()

    async def remove() -> None:
        async with descriptors.removing(REPOSITORY, [DIGEST]):
            pass

    removal = asyncio.create_task(remove())
    await asyncio.sleep(0.02)
    assert not removal.done()
    cache.may_add.set()
    await asyncio.gather(filling, removal)
    assert await descriptors.get(REPOSITORY, DIGEST) is None


async def test_an_alias_is_answered_only_together_with_the_canonical_digest(descriptors) -> None:
    await fill(descriptors, ALIAS)
    assert await descriptors.get(REPOSITORY, ALIAS) == DESCRIPTOR
    assert await descriptors.get(REPOSITORY, DIGEST) == DESCRIPTOR
    async with descriptors.removing(REPOSITORY, [DIGEST]):
        pass
    assert await descriptors.get(REPOSITORY, ALIAS) is None


@pytest.mark.parametrize(
    "error", [RegistryError(ErrorCode.UNAVAILABLE), asyncio.CancelledError(), OSError("gone")]
)
async def test_after_a_removal_of_unknown_outcome_nothing_is_filled_until_it_must_be_through(
    descriptors, error: BaseException
) -> None:
    await fill(descriptors)
    with suppress(type(error)):
        async with descriptors.removing(REPOSITORY, [DIGEST]):
            raise error
    meanwhile = descriptors.begin(REPOSITORY)
    await fill(descriptors)
    assert await descriptors.get(REPOSITORY, DIGEST) is None
    await fill(descriptors, repository="team/other")
    assert await descriptors.get("team/other", DIGEST) == DESCRIPTOR
    await asyncio.sleep(0.35)
    # What was read before then is still in doubt.
    await descriptors.fill(meanwhile, DIGEST, DESCRIPTOR)
    assert await descriptors.get(REPOSITORY, DIGEST) is None
    await fill(descriptors)
    assert await descriptors.get(REPOSITORY, DIGEST) == DESCRIPTOR


async def test_a_removal_that_storage_refused_has_no_aftermath(descriptors) -> None:
    with suppress(RegistryError):
        async with descriptors.removing(REPOSITORY, [DIGEST]):
            raise RegistryError(ErrorCode.NAME_INVALID)
    await fill(descriptors)
    assert await descriptors.get(REPOSITORY, DIGEST) == DESCRIPTOR


async def test_an_error_of_the_cache_fails_nothing_and_is_counted(descriptors, cache, logged) -> None:
    before = count("errors")
    cache.broken = True
    with logged() as lines:
        assert await descriptors.get(REPOSITORY, DIGEST) is None
        await fill(descriptors)
        async with descriptors.removing(REPOSITORY, [DIGEST]):
            pass
    assert count("errors") == before + 3
    assert [(line["log_level"], line["operation"]) for line in lines] == [
        ("warning", "get"),
        ("warning", "add"),
        ("warning", "remove"),
    ]


async def test_a_cache_that_fails_for_every_request_is_not_logged_for_every_one(
    descriptors, cache, logged
) -> None:
    before = count("errors")
    cache.broken = True
    with logged() as lines:
        for _ in range(50):
            assert await descriptors.get(REPOSITORY, DIGEST) is None
    assert count("errors") == before + 50
    assert len(lines) == 1


async def test_what_the_cache_could_not_be_told_to_forget_is_not_answered(descriptors, cache) -> None:
    await fill(descriptors)
    cache.broken = True
    async with descriptors.removing(REPOSITORY, [DIGEST]):
        pass
    cache.broken = False
    assert await descriptors.get(REPOSITORY, DIGEST) is None
    await fill(descriptors)
    assert await descriptors.get(REPOSITORY, DIGEST) == DESCRIPTOR


class SharedCache(UnreliableCache):
    """A cache that is not this process's alone."""

    is_private = False


async def test_only_a_private_cache_decides_and_only_where_nobody_else_writes() -> None:
    for cache, alone, decides in (
        (UnreliableCache(), True, True),
        (UnreliableCache(), False, False),
        (SharedCache(), True, False),
        (SharedCache(), False, False),
    ):
        assert RepositoryDescriptors(cache, settling=1, alone=alone).decides is decides


async def test_what_a_shared_cache_has_to_forget_is_remembered_within_bounds(logged, monkeypatch) -> None:
    monkeypatch.setattr("metadata_service.cache.repository._UNCLEARED", 10)
    cache = SharedCache()
    descriptors = RepositoryDescriptors(cache, settling=1)
    cache.broken = True
    with logged() as lines:
        for number in range(30):
            async with descriptors.removing(f"team/{number}", [DIGEST]):
                pass
    assert [line["log_level"] for line in lines].count("error") == 20
    cache.broken = False
    removed = []
    cache.remove = lambda repository, digest: _note(removed, repository)
    reports: list[str | None] = []
    await descriptors.watch(lambda degraded: _note(reports, degraded))
    assert removed == [f"team/{number}" for number in range(20, 30)]


async def _note(notes: list, note: object) -> None:
    notes.append(note)


def test_the_digests_that_were_seen_last_are_remembered() -> None:
    digests = [Digest.of(bytes([number])) for number in range(4)]
    seen = SeenBytes(most=3)
    for digest in digests[:3]:
        seen.add(digest)
    assert digests[0] in seen
    seen.add(digests[3])
    assert [digest in seen for digest in digests] == [True, False, True, True]
    seen.discard(digests[0])
    assert digests[0] not in seen


async def test_questions_and_answers_are_counted(descriptors) -> None:
    requests, hits = count("requests"), count("hits")
    await descriptors.get(REPOSITORY, DIGEST)
    await fill(descriptors)
    await descriptors.get(REPOSITORY, DIGEST)
    assert (count("requests") - requests, count("hits") - hits) == (2, 1)
