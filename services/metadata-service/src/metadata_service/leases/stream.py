"""The Lease call: what a gateway says on its stream, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

import structlog

from metadata_service.leases.book import Leases
from metadata_service.leases.lease import Lease
from moorage.v1 import metadata_pb2

log = structlog.get_logger("metadata_service.leases")


async def serve_lease(
    leases: Leases, requests: AsyncIterator[metadata_pb2.LeaseRequest], peer: str
) -> AsyncGenerator[metadata_pb2.LeaseResponse, None]:
    """Serve one stream, until either side ends it or its lease has ended."""
    lease = leases.grant(peer)
    log.info("a gateway has a lease", peer=peer)
    reading = asyncio.create_task(_read(leases, lease, requests))
    # Whatever ends the reading ends the stream.
    reading.add_done_callback(lambda _: lease.disconnect())
    try:
        async with aclosing(lease.messages()) as messages:
            async for message in messages:
                yield message
    finally:
        leases.disconnect(lease)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        log.info("the stream of a gateway's lease ended", peer=peer)


async def _read(leases: Leases, lease: Lease, requests: AsyncIterator[metadata_pb2.LeaseRequest]) -> None:
    async for request in requests:
        match request.WhichOneof("message"):
            case "renew":
                if lease.is_over:
                    # What it covered may have changed: the gateway begins anew, with an empty memory.
                    return
                lease.renew()
            case "confirm":
                lease.confirm(request.confirm.revocation)
            case "release":
                leases.release(lease)
                return
