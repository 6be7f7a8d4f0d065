"""Makes the driver that the configuration names.

A driver is imported when it is asked for: with it come libraries that the others do not need.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from blob_service.drivers.interface import StorageDriver
from moorage.config.errors import ConfigurationError

# The names of the drivers in the configuration: those of modules whose `create` makes one of its parameters.
DRIVERS = ("filesystem", "inmemory", "rados", "s3")


def create(name: str, parameters: Mapping[str, Any]) -> StorageDriver:
    """The driver `name`, ready for use. `parameters` is its section of the configuration, already typed.

    Raises ConfigurationError when there is no such driver or its parameters do not work here. Blocks for a
    moment: call it before serving.
    """
    if name not in DRIVERS:
        raise ConfigurationError("storage", f"unknown driver {name!r}; known are {', '.join(DRIVERS)}")
    driver: StorageDriver = import_module(f"blob_service.drivers.{name}").create(parameters)
    return driver
