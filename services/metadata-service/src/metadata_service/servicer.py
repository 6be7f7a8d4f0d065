"""moorage.v1.Metadata: from messages to what the modules do, and back."""

# ruff: noqa: N802  methods have the contract's names

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from metadata_service.catalog import Catalog
from metadata_service.deadline import within
from metadata_service.garbage import Collector, Options
from metadata_service.garbage.events import Marked
from metadata_service.garbage.messages import as_message
from metadata_service.leases import Leases, serve_lease
from metadata_service.linked_blobs import LinkedBlobs
from metadata_service.manifests.store import Manifests
from metadata_service.referrers import Referrer, Referrers
from metadata_service.requests import digest_of, globs_of, page_limit, reference_of, repository_of, tag_of
from metadata_service.resolver import Lookups, Resolver
from metadata_service.tags import Tags
from moorage.digest import Digest
from moorage.v1 import common_pb2, metadata_pb2
from moorage.v1.metadata_pb2_grpc import MetadataServicer

# The call's servicer context; grpcio types it differently in each handler shape.
_Context = Any


@dataclass(frozen=True, slots=True)
class Registry:
    """What the service can do."""

    blobs: LinkedBlobs
    manifests: Manifests
    tags: Tags
    referrers: Referrers
    catalog: Catalog
    lookups: Lookups
    resolver: Resolver
    leases: Leases
    collector: Collector
    storage: str
    """Which storage it is all in (Storage.location)."""


class Metadata(MetadataServicer):
    """Serves repositories to the gateways, each call within its own deadline and `timeout` seconds."""

    def __init__(self, registry: Registry, *, timeout: float) -> None:
        self._registry = registry
        self._timeout = timeout

    async def StatBlob(
        self, request: metadata_pb2.StatBlobRequest, context: _Context
    ) -> metadata_pb2.StatBlobResponse:
        """See metadata.proto."""
        async with self._call(context):
            return await self._registry.lookups.blob(request)

    async def LinkBlob(
        self, request: metadata_pb2.LinkBlobRequest, context: _Context
    ) -> metadata_pb2.LinkBlobResponse:
        """See metadata.proto."""
        async with self._call(context):
            repository = repository_of(request.repository)
            aliases = [digest_of(alias) for alias in request.aliases]
            await self._registry.blobs.link(repository, digest_of(request.descriptor.digest), aliases)
            return metadata_pb2.LinkBlobResponse()

    async def MountBlob(
        self, request: metadata_pb2.MountBlobRequest, context: _Context
    ) -> metadata_pb2.MountBlobResponse:
        """See metadata.proto."""
        async with self._call(context):
            repository = repository_of(request.repository)
            source = repository_of(request.from_repository)
            descriptor = await self._registry.blobs.mount(repository, source, digest_of(request.digest))
            return metadata_pb2.MountBlobResponse(descriptor=descriptor.as_message())

    async def UnlinkBlob(
        self, request: metadata_pb2.UnlinkBlobRequest, context: _Context
    ) -> metadata_pb2.UnlinkBlobResponse:
        """See metadata.proto."""
        async with self._call(context):
            repository = repository_of(request.repository)
            await self._registry.blobs.unlink(repository, digest_of(request.digest))
            return metadata_pb2.UnlinkBlobResponse()

    async def Resolve(
        self, request: metadata_pb2.ResolveRequest, context: _Context
    ) -> metadata_pb2.ResolveResponse:
        """See metadata.proto."""
        async with self._call(context):
            return await self._registry.resolver.resolve(request)

    async def Lease(
        self, request_iterator: AsyncIterator[metadata_pb2.LeaseRequest], context: _Context
    ) -> AsyncIterator[metadata_pb2.LeaseResponse]:
        """See metadata.proto."""
        stream = serve_lease(self._registry.leases, request_iterator, context.peer())
        async with aclosing(stream) as responses:
            async for response in responses:
                yield response

    async def GetManifest(
        self, request: metadata_pb2.GetManifestRequest, context: _Context
    ) -> metadata_pb2.GetManifestResponse:
        """See metadata.proto."""
        async with self._call(context):
            return await self._registry.lookups.manifest(request)

    async def PutManifest(
        self, request: metadata_pb2.PutManifestRequest, context: _Context
    ) -> metadata_pb2.PutManifestResponse:
        """See metadata.proto."""
        async with self._call(context):
            pushed = await self._registry.manifests.put(
                repository_of(request.repository),
                reference_of(request.reference),
                [tag_of(tag) for tag in request.tags],
                media_type=request.media_type,
                content=request.content,
                granted_class=request.granted_class,
                create_only=request.create_only,
            )
            subject = pushed.manifest.subject
            return metadata_pb2.PutManifestResponse(
                descriptor=common_pb2.Descriptor(
                    media_type=pushed.manifest.media_type,
                    digest=str(pushed.digest),
                    size=len(request.content),
                ),
                tags=pushed.tags,
                subject="" if subject is None else str(subject),
            )

    async def DeleteManifest(
        self, request: metadata_pb2.DeleteManifestRequest, context: _Context
    ) -> metadata_pb2.DeleteManifestResponse:
        """See metadata.proto."""
        async with self._call(context):
            repository = repository_of(request.repository)
            reference = reference_of(request.reference)
            if isinstance(reference, Digest):
                tags = await self._registry.manifests.delete(repository, reference)
            else:
                await self._registry.manifests.delete_tag(repository, reference)
                tags = [reference]
            return metadata_pb2.DeleteManifestResponse(tags=tags)

    async def ListTags(
        self, request: metadata_pb2.ListTagsRequest, context: _Context
    ) -> metadata_pb2.ListTagsResponse:
        """See metadata.proto."""
        async with self._call(context):
            repository = repository_of(request.repository)
            limit = page_limit(request.limit) if request.HasField("limit") else None
            with self._registry.leases.watching(repository.name, request.lease) as may_be_kept:
                tags, more = await self._registry.tags.page(repository, request.last, limit)
                return metadata_pb2.ListTagsResponse(tags=tags, more=more, held=may_be_kept())

    async def ListRepositories(
        self, request: metadata_pb2.ListRepositoriesRequest, context: _Context
    ) -> metadata_pb2.ListRepositoriesResponse:
        """See metadata.proto."""
        async with self._call(context):
            page = await self._registry.catalog.page(
                request.last, page_limit(request.limit), globs_of(request.matching)
            )
            return metadata_pb2.ListRepositoriesResponse(
                repositories=page.repositories, more=page.more, position=page.position
            )

    async def ListReferrers(
        self, request: metadata_pb2.ListReferrersRequest, context: _Context
    ) -> metadata_pb2.ListReferrersResponse:
        """See metadata.proto."""
        async with self._call(context):
            page = await self._registry.referrers.page(
                repository_of(request.repository),
                digest_of(request.digest),
                artifact_type=request.artifact_type,
                last=request.last,
                limit=page_limit(request.limit),
            )
            return metadata_pb2.ListReferrersResponse(
                referrers=[_referrer(each) for each in page.referrers], more=page.more
            )

    async def CollectGarbage(
        self, request: metadata_pb2.CollectGarbageRequest, context: _Context
    ) -> AsyncIterator[metadata_pb2.CollectGarbageResponse]:
        """See metadata.proto. It has no deadline of its own: each of its steps has one."""
        options = Options(
            dry_run=request.dry_run, delete_untagged=request.delete_untagged, force=request.force
        )
        async with aclosing(self._registry.collector.collect(options)) as events:
            async for event in events:
                if not (request.quiet and isinstance(event, Marked)):
                    yield as_message(event)

    async def DescribeStorage(
        self, request: metadata_pb2.DescribeStorageRequest, context: _Context
    ) -> metadata_pb2.DescribeStorageResponse:
        """See metadata.proto."""
        return metadata_pb2.DescribeStorageResponse(location=self._registry.storage)

    @asynccontextmanager
    async def _call(self, context: _Context) -> AsyncIterator[None]:
        """Bound a call by the caller's deadline, if there is one, and by the configuration's."""
        left = context.time_remaining()
        async with within(self._timeout if left is None else min(left, self._timeout)):
            yield


def _referrer(referrer: Referrer) -> metadata_pb2.ListReferrersResponse.Referrer:
    return metadata_pb2.ListReferrersResponse.Referrer(
        descriptor=common_pb2.Descriptor(
            media_type=referrer.media_type, digest=str(referrer.digest), size=referrer.size
        ),
        artifact_type=referrer.artifact_type,
        annotations=referrer.annotations,
    )
