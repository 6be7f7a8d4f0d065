"""The composition root: what the blob service is made of, and its life from start to drain."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from blob_service.blobs import Blobs
from blob_service.channel.loans import Loans
from blob_service.channel.server import DataServer
from blob_service.drivers.interface import StorageDriver
from blob_service.drivers.threads import ThreadPool
from blob_service.hashing import new_executor
from blob_service.health import StorageHealth
from blob_service.objects import Objects
from blob_service.purging import UploadPurger, purge_periodically, purges_here
from blob_service.servicers.blobs import BlobStore
from blob_service.servicers.objects import ObjectStore
from blob_service.servicers.uploads import UploadService
from blob_service.storage import open_storage
from blob_service.tickets import Tickets
from blob_service.uploads import Uploads
from blob_service.workers import WORKERS
from moorage.config import Configuration, ConfigurationError
from moorage.debugging import Pages, ServiceHealth, debug_server
from moorage.rpc import Address, RpcServer, Security, kept_up_to_date
from moorage.service import Service
from moorage.v1.blob_pb2_grpc import (
    add_BlobStoreServicer_to_server,
    add_ObjectStoreServicer_to_server,
    add_UploadsServicer_to_server,
)
from moorage.workers import enlisted

# Threads that move bytes to and from clients. Each serves whoever takes or sends some at the moment, so a few
# serve many clients; they wait for disks.
_MOVING_THREADS = 16

# Seconds that the first purging of uploads waits at most, as in distribution.
_LATEST_FIRST_PURGE = 59 * 60.0

log = structlog.get_logger(__name__)


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain.

    Raises ConfigurationError before it listens when the driver cannot be made, and OSError when the address
    cannot be had.
    """
    address = _address(config)
    security = Security.of(config, "blob")
    driver = await open_storage(config)
    executor = new_executor()
    threads = ThreadPool(driver.name, _MOVING_THREADS)
    try:
        async with kept_up_to_date(security):
            await _serve(config, address, security, driver, executor, threads, stop)
    finally:
        await threads.close()
        await driver.close()
        executor.shutdown()


@dataclass(frozen=True, slots=True)
class Contents:
    """What a blob service serves, over one driver."""

    blobs: Blobs
    uploads: Uploads
    objects: Objects
    tickets: Tickets

    @classmethod
    def of(cls, config: Configuration, driver: StorageDriver, executor: Executor) -> Contents:
        """The contents of a driver's storage."""
        blobs = Blobs(driver, executor, redirects=not config.storage.redirect.disable)
        uploads = Uploads(driver, blobs, executor, size_limit=config.http.limits.uploadsize)
        return cls(blobs, uploads, Objects(driver), Tickets())


def build_server(
    config: Configuration, address: Address, contents: Contents, security: Security | None = None
) -> RpcServer:
    """GRPC's server with all servicers, not started yet."""
    store = BlobStore(contents.blobs, contents.tickets, data_port=_data_port(config, address))
    upload_service = UploadService(contents.uploads, stall_seconds=config.services.blobtimeout)
    object_store = ObjectStore(contents.blobs, contents.objects)
    server = RpcServer(address, security)
    server.add("moorage.v1.BlobStore", lambda s: add_BlobStoreServicer_to_server(store, s))
    server.add("moorage.v1.Uploads", lambda s: add_UploadsServicer_to_server(upload_service, s))
    server.add("moorage.v1.ObjectStore", lambda s: add_ObjectStoreServicer_to_server(object_store, s))
    return server


def build_data_server(
    config: Configuration,
    address: Address,
    contents: Contents,
    threads: ThreadPool,
    security: Security | None = None,
) -> DataServer:
    """The data channel's server, not started yet; it listens nowhere if the channel is off."""
    stall = config.services.blobtimeout
    minimum = config.http.limits.minimum
    loans = Loans(contents.blobs, contents.uploads, contents.tickets, threads, stall=stall, minimum=minimum)
    enabled = config.services.blob.channel == "auto"
    port = _data_port(config, address)
    return DataServer(loans, address, enabled=enabled, port=port, security=security)


def _data_port(config: Configuration, address: Address) -> int:
    """Where tickets are redeemed; 0 for nowhere."""
    blob = config.services.blob
    return blob.dataport if blob.channel == "auto" and address.path is None else 0


async def _serve(
    config: Configuration,
    address: Address,
    security: Security | None,
    driver: StorageDriver,
    executor: Executor,
    threads: ThreadPool,
    stop: asyncio.Event,
) -> None:
    contents = Contents.of(config, driver, executor)
    server = build_server(config, address, contents, security)
    data = build_data_server(config, address, contents, threads, security)
    check = config.health.storagedriver
    health = StorageHealth(
        driver,
        server.serving,
        interval=check.interval,
        threshold=check.threshold,
        timeout=config.services.timeout,
    )
    await server.start()
    try:
        await data.start()
        log.info("the blob service listens", address=str(address), driver=driver.name)
        work = (health.watch(), *_purging(config, driver, contents))
        async with (
            _in_background(*work),
            debug_server(config.services.blob.debugaddr, Pages.of_service(config, ServiceHealth(server))),
            enlisted() as ready,
        ):
            ready()
            await stop.wait()
    finally:
        log.info("the blob service drains", seconds=config.http.draintimeout)
        await asyncio.gather(data.stop(config.http.draintimeout), server.stop(config.http.draintimeout))


def _purging(
    config: Configuration, driver: StorageDriver, contents: Contents
) -> Iterator[Coroutine[Any, Any, None]]:
    if purges_here(config, os.environ):
        purging = config.storage.maintenance.uploadpurging
        purger = UploadPurger(driver, contents.uploads, age=purging.age, dry_run=purging.dryrun)
        # Not a secret, only spread: registries that start together would ask one backend together.
        first_after = random.uniform(0, _LATEST_FIRST_PURGE)  # noqa: S311
        yield purge_periodically(purger, first_after=first_after, interval=purging.interval)


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that goes on until the context is left, and is cancelled then."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                task.result()


def _address(config: Configuration) -> Address:
    addresses = config.services.blob.addr
    if len(addresses) > 1:
        raise ConfigurationError(
            "services.blob.addr",
            "names several instances; give this one its own address in REGISTRY_SERVICES_BLOB_ADDR",
        )
    return Address.parse(addresses[0])


SERVICE = Service("blob", run, WORKERS)
