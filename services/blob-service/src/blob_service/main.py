"""The composition root: what the blob service is made of, and its life from start to drain."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from contextlib import suppress

import structlog

from blob_service.blobs import Blobs
from blob_service.channel.loans import Loans
from blob_service.channel.server import DataServer
from blob_service.drivers import factory
from blob_service.drivers.interface import StorageDriver
from blob_service.drivers.threads import ThreadPool
from blob_service.hashing import new_executor
from blob_service.health import StorageHealth
from blob_service.objects import Objects
from blob_service.servicers.blobs import BlobStore
from blob_service.servicers.objects import ObjectStore
from blob_service.servicers.uploads import UploadService
from blob_service.tickets import Tickets
from blob_service.uploads import Uploads
from moorage.config import Configuration, ConfigurationError
from moorage.rpc import Address, RpcServer
from moorage.service import Service
from moorage.v1.blob_pb2_grpc import (
    add_BlobStoreServicer_to_server,
    add_ObjectStoreServicer_to_server,
    add_UploadsServicer_to_server,
)

# Threads that send files. Each serves whoever takes bytes at the moment, so a few serve many clients; they
# wait for disks.
_SENDING_THREADS = 16

log = structlog.get_logger(__name__)


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain.

    Raises ConfigurationError before it listens when the driver cannot be made, and OSError when the address
    cannot be had.
    """
    address = _address(config)
    driver = factory.create(config.storage.driver_name, config.storage.driver_parameters)
    executor = new_executor()
    threads = ThreadPool(driver.name, _SENDING_THREADS)
    try:
        await _serve(config, address, driver, executor, threads, stop)
    finally:
        await threads.close()
        await driver.close()
        executor.shutdown()


def build_servers(
    config: Configuration, address: Address, driver: StorageDriver, executor: Executor, threads: ThreadPool
) -> tuple[RpcServer, DataServer]:
    """GRPC's server with all servicers over one driver, and the data channel's; not started yet."""
    blobs = Blobs(driver, executor)
    uploads = Uploads(driver, blobs, executor, size_limit=config.http.limits.uploadsize)
    tickets = Tickets()
    blob = config.services.blob
    data_port = blob.dataport if blob.channel == "auto" and address.path is None else 0
    loans = Loans(blobs, uploads, tickets, threads, stall=config.services.blobtimeout)
    store = BlobStore(blobs, tickets, data_port=data_port)
    upload_service = UploadService(uploads, stall_seconds=config.services.blobtimeout)
    object_store = ObjectStore(Objects(driver))
    server = RpcServer(address)
    server.add("moorage.v1.BlobStore", lambda s: add_BlobStoreServicer_to_server(store, s))
    server.add("moorage.v1.Uploads", lambda s: add_UploadsServicer_to_server(upload_service, s))
    server.add("moorage.v1.ObjectStore", lambda s: add_ObjectStoreServicer_to_server(object_store, s))
    return server, DataServer(loans, address, enabled=blob.channel == "auto", port=data_port)


async def _serve(
    config: Configuration,
    address: Address,
    driver: StorageDriver,
    executor: Executor,
    threads: ThreadPool,
    stop: asyncio.Event,
) -> None:
    server, data = build_servers(config, address, driver, executor, threads)
    check = config.health.storagedriver
    health = StorageHealth(
        driver,
        server.serving,
        interval=check.interval,
        threshold=check.threshold,
        timeout=config.services.timeout,
    )
    await data.start()
    await server.start()
    log.info("the blob service listens", address=str(address), driver=driver.name)
    watch = asyncio.create_task(health.watch())
    try:
        await stop.wait()
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        log.info("the blob service drains", seconds=config.http.draintimeout)
        await asyncio.gather(data.stop(config.http.draintimeout), server.stop(config.http.draintimeout))


def _address(config: Configuration) -> Address:
    addresses = config.services.blob.addr
    if len(addresses) > 1:
        raise ConfigurationError(
            "services.blob.addr",
            "names several instances; give this one its own address in REGISTRY_SERVICES_BLOB_ADDR",
        )
    return Address.parse(addresses[0])


SERVICE = Service("blob", run)
