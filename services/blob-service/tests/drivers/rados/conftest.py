"""A namespace of the run's Ceph for each test, the drivers that work in it, and librados to look at it."""

from __future__ import annotations

import secrets
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import rados

from blob_service.drivers import factory
from blob_service.drivers.interface import Finding, StorageDriver
from support.shared_ceph import SharedCeph

STRIPE = 64 << 10


@pytest.fixture
def parameters(ceph: SharedCeph) -> dict[str, Any]:
    """The driver's section of the configuration, with the smallest stripes and a namespace of its own."""
    return {
        "poolname": ceph.access.pool,
        "username": ceph.access.user,
        "conffile": ceph.access.conffile,
        "namespace": secrets.token_hex(8),
        "chunksize": STRIPE,
    }


@pytest.fixture
async def open_driver(parameters: dict[str, Any]) -> AsyncIterator[Callable[..., StorageDriver]]:
    """Opens a driver of the namespace, as a process does; with other parameters where some are given."""
    async with AsyncExitStack() as stack:

        def open_driver(**others: Any) -> StorageDriver:
            driver = factory.create("rados", {**parameters, **others})
            stack.push_async_callback(driver.close)
            return driver

        yield open_driver


@pytest.fixture
def driver(open_driver: Callable[..., StorageDriver]) -> StorageDriver:
    return open_driver()


class Objects:
    """The objects of a namespace, as librados shows them."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def names(self, prefix: str = "") -> list[str]:
        """All but the root folder, which stays when it is empty."""
        found = (each.key for each in self.context.list_objects())
        return sorted(name for name in found if name.startswith(prefix) and name != "/")

    def stripes(self) -> dict[int, int]:
        """The size of each stripe of the one file that there is."""
        names = self.names("blob:")
        assert len({name.rpartition("-")[0] for name in names}) <= 1, names
        return {int(name.rpartition("-")[2]): self.context.stat(name)[0] for name in names}

    def entries(self, name: str) -> dict[str, str]:
        with rados.ReadOpCtx() as operation:
            entries, _ = self.context.get_omap_vals(operation, "", "", 1000)
            self.context.operate_read_op(operation, name)
            return {key: (value or b"").decode() for key, value in entries}

    def total_size(self, data: str) -> bytes:
        return self.context.get_xattr(f"{data}-0", "total-size")

    def set_entries(self, name: str, **entries: str) -> None:
        with rados.WriteOpCtx() as operation:
            keys = tuple(key.replace("__", "/") for key in entries)
            self.context.set_omap(operation, keys, tuple(value.encode() for value in entries.values()))
            self.context.operate_write_op(operation, name)

    def store_as_the_original(self, data: str, content: bytes, stripe: int) -> None:
        """Data as distribution's own driver leaves it."""
        for number, start in enumerate(range(0, len(content), stripe)):
            self.context.write_full(f"{data}-{number}", content[start : start + stripe])
        self.context.set_xattr(f"{data}-0", "total-size", struct.pack("<Q2x", len(content)))


@pytest.fixture
def objects(parameters: dict[str, Any]) -> Iterator[Objects]:
    cluster = rados.Rados(rados_id=parameters["username"], conffile=parameters["conffile"])
    cluster.connect()
    with cluster.open_ioctx(parameters["poolname"]) as context:
        context.set_namespace(parameters["namespace"])
        yield Objects(context)
    cluster.shutdown()


@pytest.fixture
def check(driver: StorageDriver) -> Callable[..., Awaitable[list[Finding]]]:
    """Checks the namespace, at once and whatever its age."""

    async def check(*, repair: bool = False, older_than: float = 0) -> list[Finding]:
        return [finding async for finding in driver.check(repair=repair, older_than=older_than)]

    return check
