"""The composition root: what the gateway is made of, and its life from start to drain."""

from __future__ import annotations

import asyncio
import secrets
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
from api_gateway.debug import DebugServer
from api_gateway.health import HealthState, running
from api_gateway.memory import Memory, holding
from api_gateway.server import listen, listen_tcp, serving
from api_gateway.state import StateSigner
from moorage.config import Configuration, split_host_port
from moorage.rpc import Address, open_channel
from moorage.service import Service

log = structlog.get_logger("api_gateway")

# Seconds that the debug server's requests get at the end.
_DEBUG_DRAIN = 1.0


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain. Raises OSError when an address cannot be had."""
    async with opened(config, listen(config)):
        log.info("the gateway listens", address=config.http.addr, net=config.http.net)
        await stop.wait()
        log.info("the gateway drains", seconds=config.http.draintimeout)


@asynccontextmanager
async def opened(config: Configuration, listener: socket.socket) -> AsyncIterator[None]:
    """A gateway that serves on a listening socket while the context is open."""
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        signer = StateSigner(_secret(config))
        instances = BlobInstances(config.services.blob.addr, config.services)
        stack.push_async_callback(instances.close)
        channel = open_channel(Address.parse(config.services.metadata.addr))
        stack.push_async_callback(channel.close, None)
        memory = Memory(config.services.gateway.memory)
        if memory.is_on:
            await stack.enter_async_context(holding(channel, memory))
        lookups = Lookups(channel, memory, timeout=config.services.timeout)
        stack.push_async_callback(lookups.close)
        health = HealthState()
        await stack.enter_async_context(running(configured_checks(config, instances.serving), health))
        access_log = standard_access_log(config)
        if access_log is not None:
            stack.push_async_callback(access_log.close)
        debug = config.http.debug
        if debug.addr is not None:
            debug_listener = listen_tcp(*split_host_port(debug.addr))
            await stack.enter_async_context(
                serving(DebugServer(config, health), debug_listener, drain=_DEBUG_DRAIN)
            )
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
            serving(build_app(config, parts), listener, drain=config.http.draintimeout)
        )
        yield


def _secret(config: Configuration) -> bytes:
    if config.http.secret is not None:
        return config.http.secret.get_secret_value().encode()
    log.warning(
        "http.secret is not set: a random one is used. Uploads that go on through another gateway, "
        "or after a restart, will be refused"
    )
    return secrets.token_bytes(32)


SERVICE = Service("gateway", run)
