"""Health follows the storage: down when it fails or hangs, up again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from blob_service.drivers.inmemory import InMemoryDriver
from blob_service.drivers.interface import DriverError, FileInfo, PathNotFoundError
from blob_service.health import StorageHealth


class MoodyDriver(InMemoryDriver):
    """Storage whose answer to `stat` a test decides."""

    def __init__(self) -> None:
        super().__init__()
        self.mood: Callable[[], Awaitable[None]] | None = None
        self.asked = 0

    async def stat(self, path: str) -> FileInfo:
        self.asked += 1
        if self.mood is not None:
            await self.mood()
        return await super().stat(path)


@asynccontextmanager
async def watched(driver: MoodyDriver, *, threshold: int = 0) -> AsyncIterator[list[bool]]:
    reports: list[bool] = []

    async def report(healthy: bool) -> None:
        reports.append(healthy)

    health = StorageHealth(driver, report, interval=0.01, threshold=threshold, timeout=0.1)
    task = asyncio.create_task(health.watch())
    yield reports
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def fails() -> None:
    raise DriverError("moody", "out of order")


async def not_found() -> None:
    raise PathNotFoundError("/")


async def test_storage_that_answers_is_healthy_and_reported_once(eventually) -> None:
    driver = MoodyDriver()
    async with watched(driver) as reports:
        await eventually(lambda: driver.asked > 5, "the driver is asked again and again")
        assert reports == [True]


async def test_an_empty_store_is_healthy(eventually) -> None:
    driver = MoodyDriver()
    driver.mood = not_found
    async with watched(driver) as reports:
        await eventually(lambda: driver.asked > 2, "the driver is asked")
        assert reports == [True]


async def test_storage_that_fails_is_unhealthy_until_it_answers(eventually) -> None:
    driver = MoodyDriver()
    driver.mood = fails
    async with watched(driver) as reports:
        await eventually(lambda: reports == [False], "unhealthy")
        driver.mood = None
        await eventually(lambda: reports == [False, True], "healthy again")
        driver.mood = fails
        await eventually(lambda: reports == [False, True, False], "unhealthy again")


async def test_fewer_failures_in_a_row_than_the_threshold_are_healthy(eventually) -> None:
    driver = MoodyDriver()

    async def two_of_three() -> None:
        if driver.asked % 3:
            await fails()

    driver.mood = two_of_three
    async with watched(driver, threshold=3) as reports:
        await eventually(lambda: driver.asked > 12, "the driver is asked")
        assert reports == [True]
        driver.mood = fails
        await eventually(lambda: reports == [True, False], "three failures in a row")


async def test_a_call_that_hangs_is_unhealthy_and_not_repeated_until_it_ends(eventually) -> None:
    driver = MoodyDriver()
    release = asyncio.Event()

    async def hang() -> None:
        await release.wait()

    driver.mood = hang
    async with watched(driver) as reports:
        await eventually(lambda: reports == [False], "unhealthy")
        await asyncio.sleep(0.3)
        assert driver.asked == 1
        driver.mood = None
        release.set()
        await eventually(lambda: reports == [False, True], "healthy again")
