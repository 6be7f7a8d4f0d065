"""The gateway as several processes: what their parent has, and what they inherit from it.

The parent binds the listener, which all workers accept from, runs the health checks and has the debug server.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass

import structlog

from api_gateway.checks import configured_checks, webhook_checks
from api_gateway.clients.instances import BlobInstances
from api_gateway.debug import gateway_pages, publish_variables
from api_gateway.events import outbox_checks
from api_gateway.health import HealthState, running
from api_gateway.limitmemory import LimitMemory, SharedLimitMemory
from api_gateway.loads import InheritedLoad, Load, SharedLoads
from api_gateway.preflight import check_usable
from api_gateway.server import listening
from api_gateway.sharedhealth import InheritedHealth, PublishedHealth
from api_gateway.state import signing_secret
from moorage.config import Configuration
from moorage.debugging import debug_server, of_workers
from moorage.rpc import Address, Security, kept_up_to_date, open_channel
from moorage.supervisor.parent_death import WORKER
from moorage.workers import Fleet, Roster, Workers

log = structlog.get_logger("api_gateway")

# Each names a descriptor that a worker inherits.
_LISTENER = "MOORAGE_GATEWAY_LISTENER"
_HEALTH = "MOORAGE_GATEWAY_HEALTH"
_LOADS = "MOORAGE_GATEWAY_LOADS"
_LIMITS = "MOORAGE_GATEWAY_LIMITS"


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a worker has from its parent."""

    listener: socket.socket
    health: HealthState
    load: Load
    limit_memory: LimitMemory


def inherited(config: Configuration, environ: Mapping[str, str] = os.environ) -> Inherited | None:
    """What this process has from the parent of which it is a worker; None when it is none."""
    if _LISTENER not in environ:
        return None
    listener = socket.socket(fileno=int(environ[_LISTENER]))
    number = int(environ[WORKER])
    load = InheritedLoad(int(environ[_LOADS]), number)
    limit_memory = LimitMemory.inherited(
        int(environ[_LIMITS]), config.http.limits, rows=config.http.worker_count, number=number
    )
    return Inherited(listener, InheritedHealth(int(environ[_HEALTH])), load, limit_memory)


@asynccontextmanager
async def _opened(config: Configuration, roster: Roster) -> AsyncIterator[Fleet]:
    """The parent's part. Raises ConfigurationError for what cannot be used, OSError for an address."""
    check_usable(config)
    security = Security.of(config, "gateway")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(kept_up_to_date(security))
        listener = stack.enter_context(listening(config))
        health = stack.enter_context(closing(PublishedHealth()))
        loads = stack.enter_context(closing(SharedLoads(config.http.worker_count)))
        limits = stack.enter_context(closing(SharedLimitMemory(config.http.limits, config.http.worker_count)))
        instances = BlobInstances(config.services.blob.instances, config.services, security)
        stack.push_async_callback(instances.close)
        await stack.enter_async_context(instances.followed())
        metadata = open_channel(Address.parse(config.services.metadata.addr), security, to="metadata")
        stack.push_async_callback(metadata.close, None)
        checks = configured_checks(config, instances.serving, metadata)
        checks += outbox_checks(config) + webhook_checks(config, security)
        await stack.enter_async_context(running(checks, health))
        publish_variables(config)
        pages = gateway_pages(config, health, roster.exposition, of_workers(roster))
        await stack.enter_async_context(debug_server(config.http.debug.addr, pages))
        environment: dict[str, str | None] = {
            _LISTENER: str(listener.fileno()),
            _HEALTH: str(health.descriptor),
            _LOADS: str(loads.descriptor),
            _LIMITS: str(limits.descriptor),
        }
        if config.http.secret is None:
            # All of them must accept what one has signed.
            environment["REGISTRY_HTTP_SECRET"] = signing_secret(config)

        def ended(number: int) -> None:
            loads.absent(number)
            limits.ended(number)

        log.info("the gateway listens", address=config.http.addr, net=config.http.net)
        yield Fleet(
            environments=[environment] * config.http.worker_count,
            descriptors=(listener.fileno(), health.descriptor, loads.descriptor, limits.descriptor),
            close=listener.close,
            ended=ended,
        )


WORKERS = Workers(count=lambda config: config.http.worker_count, opened=_opened)
