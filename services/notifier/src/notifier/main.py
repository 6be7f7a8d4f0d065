"""The notifier as a service: `moorage serve notifier`."""

from __future__ import annotations

import asyncio

from moorage.config import Configuration
from moorage.rpc import Address, RpcServer, Security, kept_up_to_date
from moorage.service import Service
from moorage.v1 import event_pb2_grpc
from notifier.broker import Broker
from notifier.broker_url import BrokerURL
from notifier.servicer import NotifierServicer

# Seconds that calls under way get when the service stops.
GRACE = 5.0


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Healthy while the broker is connected and the event stream is there."""
    security = Security.of(config, "notifier")
    server = RpcServer(Address.parse(config.services.notifier.addr), security)
    broker = Broker(BrokerURL.parse(config.services.nats.url), server.serving)
    servicer = NotifierServicer(broker)
    server.add("moorage.v1.Notifier", lambda s: event_pb2_grpc.add_NotifierServicer_to_server(servicer, s))
    await server.start()
    try:
        async with kept_up_to_date(security):
            await broker.run(stop)
    finally:
        await server.stop(GRACE)


SERVICE = Service("notifier", run)
