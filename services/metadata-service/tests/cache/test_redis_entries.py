"""What stands in Redis: distribution's keys, exactly, as it reads and writes them."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ResponseError

from metadata_service.cache.redis.descriptors import MalformedEntryError
from metadata_service.descriptors import OCTET_STREAM, BlobDescriptor
from moorage.digest import Digest
from support.redis import RedisServer

DIGEST = Digest.of(b"a layer")
ALIAS = Digest.of(b"a layer", "sha512")
OTHER = Digest.of(b"another layer")
DESCRIPTOR = BlobDescriptor(DIGEST, 7, "application/x")

BLOB = f"blobs::{DIGEST}"
MEMBERS = "repository::team/app::blobs"
MEMBER = f"repository::team/app::blobs::{DIGEST}"


@pytest.fixture
def cache(opened, redis_server):
    return opened(f"{{addr: '{redis_server.address}'}}")


def written_by_distribution(server: RedisServer, **entry: str) -> None:
    """What distribution writes for a blob of team/app, with some fields changed; an empty one left out."""
    fields = {"digest": str(DIGEST), "size": "7", "mediatype": OCTET_STREAM, **entry}
    server.client.sadd(MEMBERS, str(DIGEST))
    server.client.hset(BLOB, mapping={name: value for name, value in fields.items() if value})
    server.client.hset(MEMBER, "mediatype", OCTET_STREAM)


async def test_an_entry_is_distribution_s(cache, redis_server) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    client = redis_server.client
    assert redis_server.all_keys() == {BLOB, MEMBERS, MEMBER}
    assert client.hgetall(BLOB) == {"digest": str(DIGEST), "size": "7", "mediatype": "application/x"}
    assert client.smembers(MEMBERS) == {str(DIGEST)}
    assert client.hgetall(MEMBER) == {"mediatype": "application/x"}
    assert client.ttl(BLOB) == client.ttl(MEMBERS) == -1


async def test_an_alias_s_entry_names_the_canonical_digest(cache, redis_server) -> None:
    await cache.add("team/app", ALIAS, DESCRIPTOR)
    assert redis_server.client.hget(f"blobs::{ALIAS}", "digest") == str(DIGEST)
    assert redis_server.client.smembers(MEMBERS) == {str(ALIAS)}


async def test_the_first_media_type_stays_the_one_for_all_repositories(cache, redis_server) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await cache.add("team/other", DIGEST, BlobDescriptor(DIGEST, 7, "application/y"))
    assert redis_server.client.hget(BLOB, "mediatype") == "application/x"
    assert (
        redis_server.client.hget(f"repository::team/other::blobs::{DIGEST}", "mediatype") == "application/y"
    )


async def test_what_distribution_wrote_is_read(cache, redis_server) -> None:
    written_by_distribution(redis_server)
    assert await cache.get("team/app", DIGEST) == BlobDescriptor(DIGEST, 7)
    assert await cache.get("team/other", DIGEST) is None


async def test_without_membership_there_is_no_answer(cache, redis_server) -> None:
    written_by_distribution(redis_server)
    redis_server.client.srem(MEMBERS, str(DIGEST))
    assert await cache.get("team/app", DIGEST) is None


async def test_without_a_media_type_of_the_repository_s_own_the_common_one_counts(
    cache, redis_server
) -> None:
    written_by_distribution(redis_server, mediatype="application/x")
    redis_server.client.delete(MEMBER)
    assert await cache.get("team/app", DIGEST) == DESCRIPTOR


async def test_without_any_media_type_it_is_bytes(cache, redis_server) -> None:
    written_by_distribution(redis_server, mediatype="")
    redis_server.client.delete(MEMBER)
    assert await cache.get("team/app", DIGEST) == BlobDescriptor(DIGEST, 7)


@pytest.mark.parametrize("missing", ["size", "digest"])
async def test_half_an_entry_is_no_answer(cache, redis_server, missing: str) -> None:
    written_by_distribution(redis_server, **{missing: ""})
    assert await cache.get("team/app", DIGEST) is None


async def test_what_an_older_distribution_left_of_a_cleared_entry_is_no_answer(cache, redis_server) -> None:
    # 2.8 clears "length", which has been "size" for long.
    written_by_distribution(redis_server)
    redis_server.client.hdel(BLOB, "digest", "length", "mediatype")
    assert await cache.get("team/app", DIGEST) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"size": "-1"},
        {"size": "7 "},
        {"size": "0x7"},
        {"size": "9" * 30},
        {"digest": "sha256:x"},
        {"digest": "../../etc/passwd"},
        {"digest": str(OTHER)},
        {"digest": str(ALIAS)},
        {"mediatype": "x", "digest": "\udce4".encode("utf-8", "surrogateescape").decode("latin-1")},
    ],
)
async def test_what_is_no_descriptor_of_the_blob_is_not_believed(cache, redis_server, entry) -> None:
    written_by_distribution(redis_server, **entry)
    with pytest.raises(MalformedEntryError):
        await cache.get("team/app", DIGEST)


async def test_a_key_of_another_kind_is_refused_by_redis_and_not_by_a_crash(cache, redis_server) -> None:
    written_by_distribution(redis_server)
    redis_server.client.delete(BLOB)
    redis_server.client.set(BLOB, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await cache.get("team/app", DIGEST)


async def test_removing_leaves_nothing_and_is_one_transaction(cache, redis_server) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.client.config_resetstat()
    await cache.remove("team/app", DIGEST)
    assert redis_server.all_keys() == set()
    calls = {name: stats["calls"] for name, stats in redis_server.client.info("commandstats").items()}
    assert calls["cmdstat_multi"] == calls["cmdstat_exec"] == 1


async def test_removing_takes_nothing_from_other_repositories_but_their_common_entry(
    cache, redis_server
) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await cache.add("team/other", DIGEST, DESCRIPTOR)
    await cache.remove("team/app", DIGEST)
    assert redis_server.all_keys() == {
        "repository::team/other::blobs",
        f"repository::team/other::blobs::{DIGEST}",
    }


async def test_an_answer_is_one_round_trip(cache, redis_server) -> None:
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    redis_server.client.config_resetstat()
    await cache.get("team/app", DIGEST)
    stats = redis_server.client.info("commandstats")
    assert {name for name in stats if "config" not in name and "info" not in name} == {
        "cmdstat_sismember",
        "cmdstat_hmget",
        "cmdstat_hget",
    }


async def test_calls_are_timed_by_operation(cache) -> None:
    def count(operation: str) -> float:
        labels = {"operation": operation}
        return REGISTRY.get_sample_value("registry_storage_cache_redis_seconds_count", labels) or 0

    before = {name: count(name) for name in ("Stat", "SetDescriptor", "Clear")}
    await cache.add("team/app", DIGEST, DESCRIPTOR)
    await cache.get("team/app", DIGEST)
    await cache.get("team/app", DIGEST)
    await cache.remove("team/app", DIGEST)
    assert {name: count(name) - value for name, value in before.items()} == {
        "Stat": 2,
        "SetDescriptor": 1,
        "Clear": 1,
    }
