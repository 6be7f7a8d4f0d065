"""The metadata service: repositories, links, manifests, tags and referrers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from moorage.digest import Digest
from moorage.rpc import Channel, rpc_errors, unary
from moorage.rpc.client import UnaryMethod, call_metadata
from moorage.rpc.readiness import Readiness
from moorage.v1 import common_pb2, metadata_pb2, metadata_pb2_grpc

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class MetadataClient:
    """Calls Metadata for what changes or lists.

    `timeout` is a call's deadline, and `grace` how long one waits for a service that has just gone, both in
    seconds.
    What is read again and again is looked up with `Lookups`. All raise RegistryError, as `metadata.proto`
    says.
    """

    def __init__(self, channel: Channel, *, timeout: float, grace: float) -> None:
        self._stub: metadata_pb2_grpc.MetadataAsyncStub = metadata_pb2_grpc.MetadataStub(channel)
        self._readiness = Readiness(channel, grace=grace)
        self._timeout = timeout

    async def _call(self, method: UnaryMethod[_Request, _Response], request: _Request) -> _Response:
        await self._readiness.wait()
        return await unary(method, request, timeout=self._timeout)

    async def link_blob(
        self, repository: str, descriptor: common_pb2.Descriptor, aliases: Sequence[str]
    ) -> None:
        """Link a committed blob into the repository, under its canonical digest and the aliases.

        While the service is away this waits for it, as long as the deadline allows: without its link the
        client would have to send all of the blob again.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        await self._readiness.wait(self._timeout)
        request = metadata_pb2.LinkBlobRequest(repository=repository, descriptor=descriptor, aliases=aliases)
        left = max(deadline - clock(), 0.0)
        with rpc_errors():
            await self._stub.LinkBlob(request, timeout=left, metadata=call_metadata(), wait_for_ready=True)

    async def mount_blob(self, repository: str, source: str, digest: str) -> common_pb2.Descriptor:
        """Link a blob of the source repository, which it gives."""
        request = metadata_pb2.MountBlobRequest(repository=repository, from_repository=source, digest=digest)
        return (await self._call(self._stub.MountBlob, request)).descriptor

    async def unlink_blob(self, repository: str, digest: str) -> None:
        """Remove the repository's link to a blob."""
        request = metadata_pb2.UnlinkBlobRequest(repository=repository, digest=digest)
        await self._call(self._stub.UnlinkBlob, request)

    async def put_manifest(
        self,
        repository: str,
        reference: Digest | str,
        *,
        tags: Sequence[str],
        media_type: str,
        content: bytes,
        granted_class: str,
        create_only: bool,
    ) -> metadata_pb2.PutManifestResponse:
        """Check, store and tag a manifest; with `create_only`, without moving a tag that is there."""
        request = metadata_pb2.PutManifestRequest(
            repository=repository,
            reference=_reference(reference),
            tags=tags,
            media_type=media_type,
            content=content,
            granted_class=granted_class,
            create_only=create_only,
        )
        return await self._call(self._stub.PutManifest, request)

    async def delete_manifest(self, repository: str, reference: Digest | str) -> list[str]:
        """Delete a manifest and its tags, by digest, or one tag; the tags that were removed."""
        request = metadata_pb2.DeleteManifestRequest(repository=repository, reference=_reference(reference))
        return list((await self._call(self._stub.DeleteManifest, request)).tags)

    async def list_tags(
        self, repository: str, last: str, limit: int | None, *, lease: str
    ) -> metadata_pb2.ListTagsResponse:
        """Tags after `last`, at most `limit` (None: a page), for a holder of `lease` ("": of none)."""
        request = metadata_pb2.ListTagsRequest(repository=repository, last=last, limit=limit, lease=lease)
        return await self._call(self._stub.ListTags, request)

    async def list_repositories(
        self, last: str, limit: int, matching: Sequence[str] = ()
    ) -> metadata_pb2.ListRepositoriesResponse:
        """Repositories after `last`: all, or those that one of the globs matches."""
        request = metadata_pb2.ListRepositoriesRequest(last=last, limit=limit, matching=matching)
        return await self._call(self._stub.ListRepositories, request)

    async def list_referrers(
        self, repository: str, digest: str, *, artifact_type: str, last: str, limit: int
    ) -> metadata_pb2.ListReferrersResponse:
        """Manifests whose subject is the digest."""
        request = metadata_pb2.ListReferrersRequest(
            repository=repository, digest=digest, artifact_type=artifact_type, last=last, limit=limit
        )
        return await self._call(self._stub.ListReferrers, request)


def _reference(reference: Digest | str) -> metadata_pb2.Reference:
    if isinstance(reference, Digest):
        return metadata_pb2.Reference(digest=str(reference))
    return metadata_pb2.Reference(tag=reference)
