"""The driver that keeps everything in a folder of a local or mounted file system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blob_service.drivers.base import BoundedDriver
from blob_service.drivers.filesystem.driver import NAME, FilesystemDriver
from blob_service.drivers.interface import StorageDriver
from moorage.config.errors import ConfigurationError

DEFAULT_ROOT = "/var/lib/registry"
DEFAULT_THREADS = 100
MIN_THREADS = 25


def create(parameters: Mapping[str, Any]) -> StorageDriver:
    """A filesystem driver by its section of the configuration.

    That has `rootdirectory`, `maxthreads` (25 or more) and `directio`. Makes the root if it is
    missing. Raises ConfigurationError if that fails.
    """
    root = parameters.get("rootdirectory", DEFAULT_ROOT)
    threads = max(parameters.get("maxthreads", DEFAULT_THREADS), MIN_THREADS)
    driver = FilesystemDriver(root, threads=threads, direct=parameters.get("directio", True))
    try:
        driver.make_root()
    except OSError as error:
        raise ConfigurationError(
            f"storage.{NAME}.rootdirectory", f"cannot use {root}: {error.strerror}"
        ) from error
    return BoundedDriver(driver, max_calls=threads)
