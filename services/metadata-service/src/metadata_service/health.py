"""The health of the metadata service: it can do its work while the blob service can."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from metadata_service.blob_service import BlobService

log = structlog.get_logger("metadata_service.health")

# Seconds between questions while the blob service is healthy, and while it is not.
_INTERVAL = 2.0
_RETRY = 0.1
# The most seconds that an answer may take.
_TIMEOUT = 2.0


class Health:
    """Asks the blob service again and again, and reports when the answer changes."""

    def __init__(self, service: BlobService, report: Callable[[bool], Awaitable[None]]) -> None:
        self._service = service
        self._report = report
        self._healthy = False

    async def watch(self) -> None:
        """Ask until cancelled. The service counts as unhealthy before the first answer."""
        while True:
            healthy = await self._service.is_serving(timeout=_TIMEOUT)
            if healthy is not self._healthy:
                self._healthy = healthy
                await self._report(healthy)
                if healthy:
                    log.info("the blob service is there")
                else:
                    log.error("the blob service is not there, or not healthy")
            await asyncio.sleep(_INTERVAL if healthy else _RETRY)
