"""The notifier as a service: `moorage serve notifier`."""

from __future__ import annotations

import asyncio

from moorage.config import Configuration
from moorage.events.broker import Broker
from moorage.events.broker_url import BrokerURL
from moorage.rpc import Address, RpcServer
from moorage.service import Service
from moorage.v1 import event_pb2_grpc
from notifier.servicer import NotifierServicer

# Seconds that calls under way get when the service stops.
GRACE = 5.0


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Healthy while the broker is connected and the event stream is there."""
    server = RpcServer(Address.parse(config.services.notifier.addr))
    broker = Broker(
        BrokerURL.parse(config.services.nats.url), "notifier", config.notifications.stream, server.serving
    )
    servicer = NotifierServicer(broker)
    server.add("moorage.v1.Notifier", lambda s: event_pb2_grpc.add_NotifierServicer_to_server(servicer, s))
    await server.start()
    try:
        await broker.run(stop)
    finally:
        await server.stop(GRACE)


SERVICE = Service("notifier", run)
