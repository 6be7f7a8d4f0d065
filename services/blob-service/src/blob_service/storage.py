"""The storage that the configuration describes: a driver, and what stands around it."""

from __future__ import annotations

from blob_service.drivers import factory
from blob_service.drivers.interface import StorageDriver
from blob_service.middleware import chain
from moorage.config import Configuration


async def open_storage(config: Configuration) -> StorageDriver:
    """The configured driver with its middleware, to be closed by the caller.

    Raises ConfigurationError when either cannot be made. Blocks for a moment: call it before serving.
    """
    driver = factory.create(config.storage.driver_name, config.storage.driver_parameters)
    try:
        return chain.wrap(driver, config.middleware.storage)
    except BaseException:
        await driver.close()
        raise
