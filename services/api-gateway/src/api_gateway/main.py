"""The composition root: what the gateway is made of, and its life from start to drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from api_gateway.access.build import access_control
from api_gateway.admission import Admission
from api_gateway.app import Parts, build_app, standard_access_log
from api_gateway.checks import configured_checks, webhook_checks
from api_gateway.clients.instances import BlobInstances
from api_gateway.clients.lookups import Lookups
from api_gateway.clients.metadata import MetadataClient
from api_gateway.debug import gateway_pages, publish_variables
from api_gateway.events import event_listener, outbox_checks
from api_gateway.health import HealthState, running
from api_gateway.limitmemory import LimitMemory
from api_gateway.loads import ONLY_LOAD, Load
from api_gateway.memory import Memory, holding
from api_gateway.preflight import check_usable
from api_gateway.requestlimit import Buckets
from api_gateway.server import Door, listening, serving
from api_gateway.state import StateSigner, signing_secret
from api_gateway.tls import ListenerTLS
from api_gateway.tokens.build import token_serving
from api_gateway.workers import WORKERS, inherited
from moorage.config import Configuration
from moorage.debugging import debug_server
from moorage.rpc import Address, Security, kept_up_to_date, open_channel
from moorage.service import Service
from moorage.workers import enlisted

log = structlog.get_logger("api_gateway")


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain.

    Raises ConfigurationError for what cannot be used, and OSError when an address cannot be had.

    A worker serves on the listener that it has from its parent.
    """
    parent = inherited(config)
    if parent is not None:
        async with (
            enlisted() as ready,
            opened(
                config,
                parent.listener,
                health=parent.health,
                load=parent.load,
                limit_memory=parent.limit_memory,
            ),
        ):
            ready()
            await stop.wait()
        return
    check_usable(config)
    with listening(config) as listener:
        async with opened(config, listener):
            log.info("the gateway listens", address=config.http.addr, net=config.http.net)
            await stop.wait()
            log.info("the gateway drains", seconds=config.http.draintimeout)


@asynccontextmanager
async def opened(
    config: Configuration,
    listener: socket.socket,
    *,
    health: HealthState | None = None,
    load: Load = ONLY_LOAD,
    limit_memory: LimitMemory | None = None,
) -> AsyncIterator[None]:
    """A gateway that serves on a listening socket while the context is open.

    With a `health` that is known from elsewhere it runs no checks, and has no debug server.
    """
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        publish_variables(config)
        http = config.http
        tls, security = ListenerTLS.of(http.tls), Security.of(config, "gateway")
        if tls is not None:
            await stack.enter_async_context(tls.watching())
        await stack.enter_async_context(kept_up_to_date(security))
        signer = StateSigner(signing_secret(config).encode())
        instances = BlobInstances(config.services.blob.instances, config.services, security)
        stack.push_async_callback(instances.close)
        await stack.enter_async_context(instances.followed())
        channel = open_channel(Address.parse(config.services.metadata.addr), security, to="metadata")
        stack.push_async_callback(channel.close, None)
        memory = Memory(config.services.gateway.memory)
        if memory.is_on:
            await stack.enter_async_context(holding(channel, memory))
        lookups = Lookups(channel, memory, timeout=config.services.timeout, grace=config.services.grace)
        stack.push_async_callback(lookups.close)
        if health is None:
            health = HealthState()
            checks = configured_checks(config, instances.serving, channel)
            checks += outbox_checks(config) + webhook_checks(config, security)
            await stack.enter_async_context(running(checks, health))
            await stack.enter_async_context(debug_server(http.debug.addr, gateway_pages(config, health)))
        tokens = await stack.enter_async_context(token_serving(config))
        access = await stack.enter_async_context(
            access_control(config, tokens.controller if tokens else None)
        )
        access_log = standard_access_log(config)
        if access_log is not None:
            stack.push_async_callback(access_log.close)
        if limit_memory is None:
            limit_memory = LimitMemory.alone(http.limits)
        parts = Parts(
            metadata=MetadataClient(channel, timeout=config.services.timeout, grace=config.services.grace),
            lookups=lookups,
            memory=memory,
            instances=instances,
            signer=signer,
            access=access,
            tokens=tokens,
            health=health,
            access_log=access_log,
            # Entered before what serves: at the end it publishes what the last requests did.
            listener=await stack.enter_async_context(event_listener(config)),
            unix=listener.family == socket.AF_UNIX,
            buckets=Buckets(http.limits, limit_memory) if http.limits.requestrate else None,
        )
        door = Door(http.limits, Admission(http.limits, limit_memory, http.trusts), tls)
        await stack.enter_async_context(
            serving(build_app(config, parts), listener, drain=http.draintimeout, load=load, door=door)
        )
        yield


SERVICE = Service("gateway", run, WORKERS)
