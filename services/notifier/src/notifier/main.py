"""The notifier as a service: `moorage serve notifier`."""

from __future__ import annotations

import asyncio

from moorage.config import Configuration
from moorage.debugging import Pages, ServiceHealth, debug_server
from moorage.events.broker import Broker
from moorage.events.broker_url import BrokerURL
from moorage.inspection import published
from moorage.rpc import Address, RpcServer, Security, kept_up_to_date
from moorage.rpc.health import WEBHOOKS
from moorage.service import Service
from moorage.v1 import event_pb2_grpc
from notifier.servicer import NotifierServicer
from notifier.webhooks import Webhooks

# Seconds that calls under way get when the service stops.
GRACE = 5.0


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Healthy while the broker is connected and the event stream is there.

    The endpoints have a name of their own in the health service. Raises ConfigurationError before it listens
    when an endpoint's certificates cannot be read, and OSError when an address cannot be had.
    """
    security = Security.of(config, "notifier")
    server = RpcServer(Address.parse(config.services.notifier.addr), security)

    async def report(all_well: bool) -> None:
        await server.report(WEBHOOKS, all_well)

    webhooks = Webhooks(config, report)

    async def change(connected: bool) -> None:
        jetstream = broker.jetstream
        if connected and jetstream is not None:
            await webhooks.start(jetstream)
        else:
            await webhooks.stop()
        await server.serving(connected)

    broker = Broker(
        BrokerURL.parse(config.services.nats.url), "notifier", config.notifications.stream, change
    )
    servicer = NotifierServicer(broker)
    server.add("moorage.v1.Notifier", lambda s: event_pb2_grpc.add_NotifierServicer_to_server(servicer, s))
    await server.start()
    try:
        async with (
            kept_up_to_date(security),
            webhooks,
            debug_server(config.services.notifier.debugaddr, Pages.of_service(config, ServiceHealth(server))),
        ):
            with published("notifications", webhooks.document):
                await broker.run(stop)
    finally:
        await server.stop(GRACE)


SERVICE = Service("notifier", run)
