"""The descriptor cache: what a repository's blobs are, without asking storage."""

from __future__ import annotations

from metadata_service.cache.breaker import CircuitBreaker
from metadata_service.cache.inmemory import InMemoryDescriptorCache
from metadata_service.cache.interface import DescriptorCache, Report
from metadata_service.cache.off import NoDescriptorCache
from metadata_service.cache.repository import RepositoryDescriptors
from metadata_service.cache.seen import SeenBytes
from moorage.config import Configuration

__all__ = ["DescriptorCache", "Report", "RepositoryDescriptors", "SeenBytes", "open_cache"]


def open_cache(config: Configuration) -> DescriptorCache:
    """The cache that `storage.cache` asks for.

    Raises ConfigurationError when what the section `redis` names cannot be used. A Redis that is not there is
    no error: the cache is degraded until it is.
    """
    match config.storage.cache.blobdescriptor:
        case "inmemory":
            return InMemoryDescriptorCache(config.storage.cache.blobdescriptorsize)
        case "redis":
            # Only here: a registry without Redis does not pay for its client.
            from metadata_service.cache.redis import open_redis_cache

            return CircuitBreaker(open_redis_cache(config.redis))
        case None:
            return NoDescriptorCache()
