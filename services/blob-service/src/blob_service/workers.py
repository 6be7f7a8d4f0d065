"""The blob service as several processes: each an instance of its own, at an address of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blob_service.storage import open_storage
from moorage.config import Configuration
from moorage.rpc import Security
from moorage.workers import Fleet, Roster, Workers


@asynccontextmanager
async def _opened(config: Configuration, _roster: Roster) -> AsyncIterator[Fleet]:
    """The parent's part: nothing is shared.

    Raises ConfigurationError when the driver cannot be made, or a certificate cannot be used.
    """
    Security.of(config, "blob")
    driver = await open_storage(config)
    await driver.close()
    blob = config.services.blob
    yield Fleet(
        [
            _environment(*each)
            for each in zip(blob.instances, blob.dataports, blob.debug_addresses, strict=True)
        ]
    )


def _environment(address: str, dataport: int, debugaddr: str) -> dict[str, str | None]:
    """What makes a process one instance, whatever the configuration and the environment say otherwise."""
    return {
        # A list's first item would go before the list.
        "REGISTRY_SERVICES_BLOB_ADDR_0": None,
        "REGISTRY_SERVICES_BLOB_ADDR": json.dumps(address),
        "REGISTRY_SERVICES_BLOB_WORKERS": "1",
        "REGISTRY_SERVICES_BLOB_DATAPORT": str(dataport),
        "REGISTRY_SERVICES_BLOB_DEBUGADDR": json.dumps(debugaddr),
    }


WORKERS = Workers(count=lambda config: config.services.blob.worker_count, opened=_opened)
