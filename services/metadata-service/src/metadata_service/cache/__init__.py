"""The descriptor cache: what a repository's blobs are, without asking storage."""

from __future__ import annotations

from metadata_service.cache.inmemory import InMemoryDescriptorCache
from metadata_service.cache.interface import DescriptorCache
from metadata_service.cache.off import NoDescriptorCache
from metadata_service.cache.repository import RepositoryDescriptors
from moorage.config import Configuration

__all__ = ["DescriptorCache", "RepositoryDescriptors", "open_cache"]


def open_cache(config: Configuration) -> DescriptorCache:
    """The cache that `storage.cache` asks for."""
    if config.storage.cache.blobdescriptor == "inmemory":
        return InMemoryDescriptorCache(config.storage.cache.blobdescriptorsize)
    return NoDescriptorCache()
