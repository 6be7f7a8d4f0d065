"""Whether the storage answers, asked again and again, as this service's health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from blob_service.drivers.interface import FileInfo, PathNotFoundError, StorageDriver

log = structlog.get_logger(__name__)


class StorageHealth:
    """Asks the driver for `/` every `interval` seconds and reports when the answer changes.

    Not found is healthy: an empty store is fine. `threshold` failures in a row are unhealthy (0 counts as
    1); an answer that takes longer than `timeout` seconds is a failure. One success is healthy again.
    """

    def __init__(
        self,
        driver: StorageDriver,
        report: Callable[[bool], Awaitable[None]],
        *,
        interval: float,
        threshold: int,
        timeout: float,
    ) -> None:
        self._driver = driver
        self._report = report
        self._interval = interval
        self._threshold = max(threshold, 1)
        self._timeout = timeout
        self._failures = 0
        self._reported: bool | None = None
        # A call that hangs is left to hang and waited for again: each new one would take another thread.
        self._probe: asyncio.Future[FileInfo] | None = None

    async def watch(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                await self._ask()
                await asyncio.sleep(self._interval)
        finally:
            if self._probe is not None:
                self._probe.cancel()

    async def _ask(self) -> None:
        problem = await self._problem()
        self._failures = self._failures + 1 if problem else 0
        healthy = self._failures < self._threshold
        if healthy is self._reported:
            return
        if not healthy:
            log.error("the storage is not healthy", driver=self._driver.name, error=problem)
        elif self._reported is not None:
            log.info("the storage is healthy again", driver=self._driver.name)
        self._reported = healthy
        await self._report(healthy)

    async def _problem(self) -> str:
        """What is wrong with the storage; empty for nothing."""
        probe = self._probe or asyncio.ensure_future(self._driver.stat("/"))
        self._probe = probe
        done, _ = await asyncio.wait((probe,), timeout=self._timeout)
        if not done:
            return f"no answer within {self._timeout:g} seconds"
        self._probe = None
        error = probe.exception()
        return "" if error is None or isinstance(error, PathNotFoundError) else str(error) or repr(error)
