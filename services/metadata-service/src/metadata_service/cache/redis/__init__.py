"""The descriptor cache in Redis, under distribution's own keys, so that both registries can share one."""

from metadata_service.cache.redis.descriptors import RedisDescriptorCache
from metadata_service.cache.redis.opening import open_redis_cache

__all__ = ["RedisDescriptorCache", "open_redis_cache"]
