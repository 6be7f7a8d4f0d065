"""Asking another service whether it can do its work, by the standard health service."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moorage.rpc.client import Channel

# It serves as long as its process answers, whatever the service itself can do: to be started again is for a
# service that does not say this, and to be left alone for one that is not SERVING.
LIVENESS = "liveness"

# The metadata service's descriptor cache has a health of its own: nothing fails without it.
DESCRIPTOR_CACHE = "moorage.DescriptorCache"

# The notifier's endpoints as well: it serves, and some of them do not take events.
WEBHOOKS = "moorage.Webhooks"


async def is_degraded(channel: Channel, part: str, *, timeout: float) -> bool:
    """Whether the service behind the channel says within `timeout` seconds that one of its parts is not well.

    A service that does not answer says nothing about its parts.
    """
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        response = await stub.Check(health_pb2.HealthCheckRequest(service=part), timeout=timeout)
    except grpc.aio.AioRpcError:
        return False
    return bool(response.status == health_pb2.HealthCheckResponse.NOT_SERVING)


async def is_serving(channel: Channel, *, timeout: float) -> bool:
    """Whether the service behind the channel says SERVING within `timeout` seconds."""
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
    except grpc.aio.AioRpcError:
        return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


async def wait_until_serving(channel: Channel, *, timeout: float, interval: float = 0.05) -> bool:
    """Ask until the service says SERVING; False when `timeout` seconds have passed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while loop.time() < deadline:
        if await is_serving(channel, timeout=min(1.0, timeout)):
            return True
        await asyncio.sleep(interval)
    return False
