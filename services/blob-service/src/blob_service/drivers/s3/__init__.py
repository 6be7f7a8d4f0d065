"""The driver that keeps everything in a bucket of S3, or of what speaks S3's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blob_service.drivers.base import BoundedDriver
from blob_service.drivers.interface import StorageDriver
from blob_service.drivers.s3.driver import S3Driver
from blob_service.drivers.s3.settings import Settings

# Calls of the driver at once. Most of them wait for the network.
MAX_CALLS = 100


def create(parameters: Mapping[str, Any]) -> StorageDriver:
    """An S3 driver by its section of the configuration. Nothing is asked of the endpoint yet."""
    return BoundedDriver(S3Driver(Settings.of(parameters)), max_calls=MAX_CALLS)
