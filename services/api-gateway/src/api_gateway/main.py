"""The composition root: what the gateway is made of, and its life from start to drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from api_gateway.access import Open
from api_gateway.app import Parts, build_app, standard_access_log
from api_gateway.checks import configured_checks
from api_gateway.clients.instances import BlobInstances
from api_gateway.clients.lookups import Lookups
from api_gateway.clients.metadata import MetadataClient
from api_gateway.debug import debug_server, of_this_process
from api_gateway.health import HealthState, running
from api_gateway.loads import ONLY_LOAD, Load
from api_gateway.memory import Memory, holding
from api_gateway.server import listening, serving
from api_gateway.state import StateSigner, signing_secret
from api_gateway.workers import WORKERS, inherited
from moorage.config import Configuration
from moorage.rpc import Address, open_channel
from moorage.service import Service
from moorage.workers import enlisted

log = structlog.get_logger("api_gateway")


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain. Raises OSError when an address cannot be had.

    A worker serves on the listener that it has from its parent.
    """
    parent = inherited()
    if parent is not None:
        async with (
            enlisted() as ready,
            opened(config, parent.listener, health=parent.health, load=parent.load),
        ):
            ready()
            await stop.wait()
        return
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
) -> AsyncIterator[None]:
    """A gateway that serves on a listening socket while the context is open.

    With a `health` that is known from elsewhere it runs no checks, and has no debug server.
    """
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        signer = StateSigner(signing_secret(config).encode())
        instances = BlobInstances(config.services.blob.instances, config.services)
        stack.push_async_callback(instances.close)
        await stack.enter_async_context(instances.followed())
        channel = open_channel(Address.parse(config.services.metadata.addr))
        stack.push_async_callback(channel.close, None)
        memory = Memory(config.services.gateway.memory)
        if memory.is_on:
            await stack.enter_async_context(holding(channel, memory))
        lookups = Lookups(channel, memory, timeout=config.services.timeout)
        stack.push_async_callback(lookups.close)
        if health is None:
            health = HealthState()
            checks = configured_checks(config, instances.serving, channel)
            await stack.enter_async_context(running(checks, health))
            await stack.enter_async_context(debug_server(config, health, of_this_process))
        access_log = standard_access_log(config)
        if access_log is not None:
            stack.push_async_callback(access_log.close)
        parts = Parts(
            metadata=MetadataClient(channel, timeout=config.services.timeout),
            lookups=lookups,
            memory=memory,
            instances=instances,
            signer=signer,
            access=Open(),
            health=health,
            access_log=access_log,
        )
        await stack.enter_async_context(
            serving(build_app(config, parts), listener, drain=config.http.draintimeout, load=load)
        )
        yield


SERVICE = Service("gateway", run, WORKERS)
