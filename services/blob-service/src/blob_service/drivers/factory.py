"""Makes the driver that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from blob_service.drivers import filesystem, inmemory, rados, s3
from blob_service.drivers.interface import StorageDriver
from moorage.config.errors import ConfigurationError

# One entry for each driver: its name in the configuration, and what makes one from its parameters.
FACTORIES: Mapping[str, Callable[[Mapping[str, Any]], StorageDriver]] = {
    "filesystem": filesystem.create,
    "inmemory": inmemory.create,
    "rados": rados.create,
    "s3": s3.create,
}


def create(name: str, parameters: Mapping[str, Any]) -> StorageDriver:
    """The driver `name`, ready for use. `parameters` is its section of the configuration, already typed.

    Raises ConfigurationError when there is no such driver or its parameters do not work here. Blocks for a
    moment: call it before serving.
    """
    try:
        factory = FACTORIES[name]
    except KeyError:
        known = ", ".join(sorted(FACTORIES))
        raise ConfigurationError("storage", f"unknown driver {name!r}; known are {known}") from None
    return factory(parameters)
