"""moorage.v1.ObjectStore."""

# ruff: noqa: N802  methods have the contract's names

from __future__ import annotations

from typing import Any

from blob_service.drivers.interface import FileInfo
from blob_service.failures import storage_failures
from blob_service.objects import Folder, Objects
from moorage.v1 import blob_pb2
from moorage.v1.blob_pb2_grpc import ObjectStoreServicer

# The call's servicer context; grpcio types it differently in each handler shape.
_Context = Any


class ObjectStore(ObjectStoreServicer):
    """Serves the metadata service's objects."""

    def __init__(self, objects: Objects) -> None:
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

    async def PutObjects(
        self, request: blob_pb2.PutObjectsRequest, context: _Context
    ) -> blob_pb2.PutObjectsResponse:
        """See blob.proto."""
        with storage_failures():
            await self._objects.put([(each.path, each.content) for each in request.objects])
        return blob_pb2.PutObjectsResponse()

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
