"""What the debug listener (`http.debug`) shows of a gateway."""

from __future__ import annotations

from api_gateway.health import HealthState
from moorage.config import Configuration
from moorage.config.effective import effective
from moorage.debugging import Exposition, Inspector, Pages, of_one_process, of_this_process
from moorage.inspection import publish


def gateway_pages(
    config: Configuration,
    health: HealthState,
    metrics: Exposition = of_this_process,
    inspector: Inspector = of_one_process,
) -> Pages:
    """The pages of a gateway; metrics only where `http.debug.prometheus` asks for them."""
    prometheus = config.http.debug.prometheus
    return Pages(health, prometheus.path if prometheus.enabled else None, metrics, inspector)


def publish_variables(config: Configuration) -> None:
    """Show in `/debug/vars` what distribution shows of its configuration there: Redis and the cache."""
    cache = config.storage.cache
    active = cache.blobdescriptor == "redis"
    publish("redis", lambda: {"Config": effective(config.redis), "Active": active})
    publish("cache", lambda: {"blobdescriptor": cache.blobdescriptor, "size": cache.blobdescriptorsize})
