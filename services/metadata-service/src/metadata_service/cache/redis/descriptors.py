"""Descriptors in Redis: what is read and written for each of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import Histogram

from metadata_service.cache.redis import keys
from metadata_service.cache.redis.commands import Commands
from metadata_service.descriptors import OCTET_STREAM, BlobDescriptor
from moorage.digest import Digest

SECONDS = Histogram(
    "registry_storage_cache_redis_seconds",
    "How long calls of the Redis cache took, by operation; failed ones as well.",
    ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

_SIZE = re.compile(rb"\d{1,18}", re.ASCII)


class MalformedEntryError(ValueError):
    """What Redis holds is no descriptor of the blob that was asked for."""


class RedisDescriptorCache:
    """One Redis, its cluster, or the master that sentinels name."""

    is_private = False

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        """The descriptor, if the repository is known to have the blob.

        Raises CacheAwayError, MalformedEntryError, or what Redis refused the question with.
        """
        with _timed("Stat"):
            is_member, entry, own_media_type = await self._commands.ask(
                ("SISMEMBER", keys.members(repository), str(digest)),
                ("HMGET", keys.blob(digest), "digest", "size", "mediatype"),
                ("HGET", keys.member(repository, digest), "mediatype"),
            )
        if not is_member:
            return None
        canonical, size, media_type = entry
        # `size` had another name in the first versions; what they wrote counts as absent.
        if canonical is None or size is None:
            return None
        return _descriptor(digest, canonical, size, own_media_type or media_type)

    async def add(self, repository: str, digest: Digest, descriptor: BlobDescriptor) -> None:
        """Remember a descriptor. Raises CacheAwayError, or what Redis refused it with."""
        # That the repository has it comes last: where this is no transaction, it stands for the rest.
        with _timed("SetDescriptor"):
            await self._commands.apply(
                ("HSET", keys.blob(digest), "digest", str(descriptor.digest), "size", descriptor.size),
                ("HSETNX", keys.blob(digest), "mediatype", descriptor.media_type),
                ("HSET", keys.member(repository, digest), "mediatype", descriptor.media_type),
                ("SADD", keys.members(repository), str(digest)),
            )

    async def remove(self, repository: str, digest: Digest) -> None:
        """Forget that the repository has it, and what it is.

        The latter is for other registries that share this Redis: older ones clear only that, so that what
        they cleared comes back when another repository fills it again (CVE-2026-35172). Raises
        CacheAwayError, or what Redis refused it with.
        """
        with _timed("Clear"):
            await self._commands.apply(
                ("SREM", keys.members(repository), str(digest)),
                ("DEL", keys.member(repository, digest)),
                ("HDEL", keys.blob(digest), "digest", "size", "mediatype"),
            )

    async def check(self, *, writes: bool) -> None:
        """Whether Redis answers, and with `writes` whether it takes a change too; raises as the others."""
        await self._commands.ping()
        if writes:
            # Leaves nothing, and is refused where changes are, or where there is no memory for more.
            await self._commands.apply(("SADD", keys.CHECK, 1), ("DEL", keys.CHECK))

    async def close(self) -> None:
        """Close the connections."""
        await self._commands.close()


def _descriptor(asked: Digest, canonical: bytes, size: bytes, media_type: bytes | None) -> BlobDescriptor:
    try:
        digest = Digest.parse(canonical.decode("ascii"))
        text = media_type.decode("utf-8") if media_type else OCTET_STREAM
    except (ValueError, UnicodeError) as error:
        raise MalformedEntryError(f"the entry of {asked} cannot be read") from error
    if _SIZE.fullmatch(size) is None:
        raise MalformedEntryError(f"the entry of {asked} has no size")
    if not digest.is_canonical or (asked.is_canonical and digest != asked):
        raise MalformedEntryError(f"the entry of {asked} is about another blob")
    return BlobDescriptor(digest, int(size), text)


@contextmanager
def _timed(operation: str) -> Iterator[Any]:
    started = time.perf_counter()
    try:
        yield
    finally:
        SECONDS.labels(operation).observe(time.perf_counter() - started)
