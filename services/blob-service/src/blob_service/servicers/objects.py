"""moorage.v1.ObjectStore."""

# ruff: noqa: N802  methods have the contract's names

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blob_service.blobs import Blob, Blobs
from blob_service.drivers.interface import FileInfo, PathNotFoundError
from blob_service.failures import blob_unknown, parse_digest, storage_failures
from blob_service.layout import blob_data
from blob_service.objects import Folder, Objects
from blob_service.servicers.blobs import descriptor_of
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2
from moorage.v1.blob_pb2_grpc import ObjectStoreServicer

# The call's servicer context; grpcio types it differently in each handler shape.
_Context = Any


class ObjectStore(ObjectStoreServicer):
    """Serves the metadata service's objects."""

    def __init__(self, blobs: Blobs, objects: Objects) -> None:
        self._blobs = blobs
        self._objects = objects

    async def GetObjects(
        self, request: blob_pb2.GetObjectsRequest, context: _Context
    ) -> blob_pb2.GetObjectsResponse:
        """See blob.proto."""
        with storage_failures():
            contents = await self._objects.get(request.paths)
        made = blob_pb2.GetObjectsResponse.Object
        objects = [made(found=content is not None, content=content or b"") for content in contents]
        return blob_pb2.GetObjectsResponse(objects=objects)

    async def Link(self, request: blob_pb2.LinkRequest, context: _Context) -> blob_pb2.LinkResponse:
        """See blob.proto."""
        digest = parse_digest(request.digest)
        objects = [(each.path, each.content) for each in request.objects]
        with storage_failures():
            if request.HasField("content"):
                blob = await self._objects.put_after(
                    lambda: self._blobs.put(request.content, digest), objects
                )
            else:
                blob = await self._link(digest, objects)
        return blob_pb2.LinkResponse(descriptor=descriptor_of(blob))

    async def _link(self, digest: Digest, objects: Sequence[tuple[str, bytes]]) -> Blob:
        if not digest.is_canonical:
            detail = {"digest": str(digest), "reason": "a blob is linked by its canonical digest"}
            raise RegistryError(ErrorCode.DIGEST_INVALID, detail)
        try:
            return Blob(digest, await self._objects.put_behind(blob_data(digest), objects))
        except PathNotFoundError as error:
            raise blob_unknown(digest) from error

    async def StatObjects(
        self, request: blob_pb2.StatObjectsRequest, context: _Context
    ) -> blob_pb2.StatObjectsResponse:
        """See blob.proto."""
        with storage_failures():
            infos = await self._objects.stat(request.paths)
        return blob_pb2.StatObjectsResponse(infos=[_info(info) for info in infos])

    async def ListObjects(
        self, request: blob_pb2.ListObjectsRequest, context: _Context
    ) -> blob_pb2.ListObjectsResponse:
        """See blob.proto."""
        with storage_failures():
            folders = await self._objects.list(
                request.paths, after=request.after, limit=request.limit or None, having=request.having
            )
        return blob_pb2.ListObjectsResponse(folders=[_folder(folder) for folder in folders])

    async def DeleteObjects(
        self, request: blob_pb2.DeleteObjectsRequest, context: _Context
    ) -> blob_pb2.DeleteObjectsResponse:
        """See blob.proto."""
        with storage_failures():
            return blob_pb2.DeleteObjectsResponse(deleted=await self._objects.delete(request.paths))


def _info(info: FileInfo | None) -> blob_pb2.StatObjectsResponse.Info:
    if info is None:
        return blob_pb2.StatObjectsResponse.Info(found=False)
    return blob_pb2.StatObjectsResponse.Info(
        found=True, is_dir=info.is_dir, size=info.size, modified_ns=info.modified_ns
    )


def _folder(folder: Folder | None) -> blob_pb2.ListObjectsResponse.Folder:
    if folder is None:
        return blob_pb2.ListObjectsResponse.Folder(found=False)
    return blob_pb2.ListObjectsResponse.Folder(found=True, names=folder.names, truncated=folder.truncated)
