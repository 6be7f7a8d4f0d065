from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from blob_service.drivers.base import BoundedDriver
from blob_service.drivers.inmemory import InMemoryDriver
from blob_service.drivers.interface import RedirectRequest, StorageDriver
from blob_service.middleware.chain import wrap
from moorage.config import parse


class Bucket(InMemoryDriver):
    """A driver whose files an object store serves as well: what a middleware sees of S3."""

    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        return f"https://s3.example/bucket/root%20folder{path}?X-Amz-Signature={request.method}"

    def object_key(self, path: str) -> str | None:
        return f"root folder{path}"


@pytest.fixture
def bucket() -> StorageDriver:
    return BoundedDriver(Bucket())


@pytest.fixture
def folder() -> StorageDriver:
    """A driver that redirects nowhere."""
    return BoundedDriver(InMemoryDriver())


@pytest.fixture
def wrapped() -> Callable[..., StorageDriver]:
    """`wrapped(driver, entries)`: the driver with `middleware.storage` of this YAML around it."""

    def wrapped(driver: StorageDriver, entries: str, environ: dict[str, str] | None = None) -> Any:
        read = parse(
            f"version: 0.1\nstorage: inmemory\nmiddleware: {{storage: [{entries}]}}\n", environ or {}
        )
        return wrap(driver, read.middleware.storage)

    return wrapped
