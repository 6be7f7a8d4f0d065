"""The composition root: what the metadata service is made of, and its life from start to drain."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import structlog

from metadata_service.blob_service import BlobService
from metadata_service.blobs import Blobs
from metadata_service.cache import Report, RepositoryDescriptors, open_cache
from metadata_service.catalog import Catalog
from metadata_service.changes import Changes
from metadata_service.garbage import Collector
from metadata_service.garbage.survey import Surveyor
from metadata_service.health import Health
from metadata_service.immutability import Immutability
from metadata_service.layout import LAYERS, MANIFESTS
from metadata_service.leases import Leases
from metadata_service.linked_blobs import LinkedBlobs
from metadata_service.links import Links
from metadata_service.manifests.rules import ManifestRules
from metadata_service.manifests.store import Manifests
from metadata_service.manifests.stored import MAX_MANIFEST_BYTES, StoredManifests
from metadata_service.objects import Objects
from metadata_service.policy import Policy
from metadata_service.referrers import Referrers
from metadata_service.resolver import Lookups, Resolver
from metadata_service.servicer import Metadata, Registry
from metadata_service.tags import Tags
from moorage.config import Configuration, ConfigurationError
from moorage.debugging import Pages, ServiceHealth, debug_server
from moorage.rpc import Address, RpcServer, Security, kept_up_to_date
from moorage.rpc.health import DESCRIPTOR_CACHE
from moorage.service import Service
from moorage.v1.metadata_pb2_grpc import add_MetadataServicer_to_server

log = structlog.get_logger("metadata_service.main")


async def run(config: Configuration, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain. Healthy while the blob service is.

    The descriptor cache has a name of its own in the health service, because nothing fails without it.

    Raises ConfigurationError before it listens when the configuration does not hold, and OSError when the
    address cannot be had.
    """
    if config.http.limits.manifestsize > MAX_MANIFEST_BYTES:
        raise ConfigurationError("http.limits.manifestsize", f"must be at most {MAX_MANIFEST_BYTES} bytes")
    security = Security.of(config, "metadata")
    async with kept_up_to_date(security):
        await _serve(config, security, stop)


async def _serve(config: Configuration, security: Security | None, stop: asyncio.Event) -> None:
    address = Address.parse(config.services.metadata.addr)
    timeout = config.services.timeout
    instances = [Address.parse(each) for each in config.services.blob.instances]
    service = BlobService(instances, timeout=timeout, grace=config.services.grace, security=security)
    # Without leases others may change storage as well: docs/leases.md.
    alone = config.services.metadata.lease > 0
    descriptors = RepositoryDescriptors(open_cache(config), settling=timeout, alone=alone)
    leases = Leases(seconds=config.services.metadata.lease, settling=timeout)
    changes = Changes(leases, timeout=timeout)
    servicer = Metadata(build_registry(config, service, descriptors, changes, leases), timeout=timeout)
    server = RpcServer(address, security)
    server.add("moorage.v1.Metadata", lambda s: add_MetadataServicer_to_server(servicer, s))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(service.close)
        stack.push_async_callback(descriptors.close)
        await stack.enter_async_context(service.followed())
        await server.start()
        log.info("the metadata service listens", address=str(address))
        watching = [
            asyncio.create_task(Health(service, server.serving).watch()),
            asyncio.create_task(descriptors.watch(_reporting_to(server))),
        ]
        try:
            pages = Pages.of_service(config, ServiceHealth(server))
            async with debug_server(config.services.metadata.debugaddr, pages):
                await stop.wait()
        finally:
            for watch in watching:
                watch.cancel()
            for watch in watching:
                with suppress(asyncio.CancelledError):
                    await watch
            log.info("the metadata service drains", seconds=config.http.draintimeout)
            # Gateways stay connected as long as a change needs their confirmation.
            await asyncio.gather(server.stop(config.http.draintimeout), leases.drain())
            await changes.drain()


def _reporting_to(server: RpcServer) -> Report:
    """Tells the health service how the descriptor cache is."""

    async def report(degraded: str | None) -> None:
        await server.report(DESCRIPTOR_CACHE, degraded is None)

    return report


def build_registry(
    config: Configuration,
    service: BlobService,
    descriptors: RepositoryDescriptors,
    changes: Changes,
    leases: Leases,
) -> Registry:
    """Everything that the service can do, on one blob service."""
    objects = Objects(service)
    blobs = Blobs(service)
    links = Links(objects)
    policy = Policy(config)
    stored = StoredManifests(links, blobs)
    tags = Tags(objects, links, changes, concurrency=config.storage.tag.concurrencylimit)
    linked_blobs = LinkedBlobs(
        objects=objects, blobs=blobs, links=links, descriptors=descriptors, changes=changes, policy=policy
    )
    manifests = Manifests(
        objects=objects,
        blobs=blobs,
        links=links,
        stored=stored,
        tags=tags,
        rules=ManifestRules(config, links, blobs),
        changes=changes,
        policy=policy,
        immutability=Immutability(config.policy.tags.immutable),
        max_size=config.http.limits.manifestsize,
    )
    lookups = Lookups(linked_blobs, manifests)
    collector = Collector(
        surveyor=Surveyor(objects=objects, links=links, blobs=blobs, stored=stored, tags=tags),
        catalog=Catalog(objects, (LAYERS, MANIFESTS)),
        blobs=blobs,
        linked_blobs=linked_blobs,
        manifests=manifests,
        tags=tags,
        read_only=config.storage.maintenance.readonly.enabled,
    )
    return Registry(
        blobs=linked_blobs,
        manifests=manifests,
        tags=tags,
        referrers=Referrers(objects, links, stored),
        catalog=Catalog(objects),
        lookups=lookups,
        resolver=Resolver(lookups, leases),
        leases=leases,
        collector=collector,
        storage=config.storage.location,
    )


SERVICE = Service("metadata", run)
