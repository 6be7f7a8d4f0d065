"""moorage.v1.Uploads."""

# ruff: noqa: N802  methods have the contract's names

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

from blob_service.cancellation import run_to_completion
from blob_service.failures import parse_digest, storage_failures
from blob_service.layout import InvalidUploadIdError, UploadKey
from blob_service.servicers.blobs import descriptor_of
from blob_service.uploads import Upload, Uploads, upload_unknown
from moorage.digest import CANONICAL_ALGORITHM, SUPPORTED_ALGORITHMS
from moorage.errors import ErrorCode, RegistryError
from moorage.reference import InvalidReferenceError
from moorage.v1 import blob_pb2
from moorage.v1.blob_pb2_grpc import UploadsServicer

# The call's servicer context; grpcio types it differently in each handler shape.
_Context = Any
_Part = TypeVar("_Part", blob_pb2.AppendRequest, blob_pb2.CommitUploadRequest)


class UploadService(UploadsServicer):
    """Serves the uploads. A stream may be silent for `stall_seconds`."""

    def __init__(self, uploads: Uploads, *, stall_seconds: float) -> None:
        self._uploads = uploads
        self._stall_seconds = stall_seconds

    async def Start(self, request: blob_pb2.StartUploadRequest, context: _Context) -> blob_pb2.Upload:
        """See blob.proto."""
        algorithm = request.digest_algorithm or CANONICAL_ALGORITHM
        if algorithm not in SUPPORTED_ALGORITHMS:
            detail = {"algorithm": algorithm[:40], "supported": list(SUPPORTED_ALGORITHMS)}
            raise RegistryError(ErrorCode.DIGEST_INVALID, detail)
        try:
            key = UploadKey.new(request.repository)
        except InvalidReferenceError as error:
            raise _name_invalid(request.repository, error) from error
        with storage_failures():
            return upload_message(await self._uploads.start(key, algorithm))

    async def Status(self, request: blob_pb2.UploadStatusRequest, context: _Context) -> blob_pb2.Upload:
        """See blob.proto."""
        key = upload_key(request.key)
        with storage_failures():
            return upload_message(await self._uploads.status(key))

    async def Append(
        self, request_iterator: AsyncIterator[blob_pb2.AppendRequest], context: _Context
    ) -> blob_pb2.Upload:
        """See blob.proto."""
        first = await self._first(request_iterator)
        header = first.header
        key = upload_key(header.key)
        async with aclosing(self._data(request_iterator)) as chunks:
            with storage_failures():
                upload = await self._uploads.append(
                    key, header.offset, chunks, length=declared_length(header)
                )
        return upload_message(upload)

    async def Commit(
        self, request_iterator: AsyncIterator[blob_pb2.CommitUploadRequest], context: _Context
    ) -> blob_pb2.CommitUploadResponse:
        """See blob.proto."""
        first = await self._first(request_iterator)
        header = first.header.append
        key = upload_key(header.key)
        digest = parse_digest(first.header.digest)
        async with aclosing(self._whole_data(request_iterator, context)) as chunks:
            with storage_failures():
                blob = await self._uploads.commit(
                    key, header.offset, digest, chunks, length=declared_length(header)
                )
        return blob_pb2.CommitUploadResponse(descriptor=descriptor_of(blob))

    async def CommitStored(
        self, request: blob_pb2.CommitStoredRequest, context: _Context
    ) -> blob_pb2.CommitUploadResponse:
        """See blob.proto."""
        key = upload_key(request.key)
        digest = parse_digest(request.digest)
        with storage_failures():
            blob = await self._uploads.commit_stored(key, request.offset, digest)
        return blob_pb2.CommitUploadResponse(descriptor=descriptor_of(blob))

    async def Cancel(
        self, request: blob_pb2.CancelUploadRequest, context: _Context
    ) -> blob_pb2.CancelUploadResponse:
        """See blob.proto."""
        key = upload_key(request.key)
        with storage_failures():
            await self._uploads.cancel(key, request.offset)
        return blob_pb2.CancelUploadResponse()

    async def _first(self, parts: AsyncIterator[_Part]) -> _Part:
        first = await self._next(parts)
        if first is None or first.WhichOneof("part") != "header":
            raise RegistryError(ErrorCode.BLOB_UPLOAD_INVALID, {"reason": "the stream begins with no header"})
        return first

    async def _data(self, parts: AsyncIterator[_Part]) -> AsyncGenerator[bytes, None]:
        """The data of a stream. It may end early, without an error, when the stream breaks."""
        while (part := await self._next(parts)) is not None:
            if part.WhichOneof("part") != "data":
                raise RegistryError(ErrorCode.BLOB_UPLOAD_INVALID, {"reason": "the stream has two headers"})
            yield part.data

    async def _whole_data(
        self, parts: AsyncIterator[_Part], context: _Context
    ) -> AsyncGenerator[bytes, None]:
        """The data of a stream. It ends only if the caller ended it, and raises if the stream broke."""
        async with aclosing(self._data(parts)) as chunks:
            async for chunk in chunks:
                yield chunk
        # gRPC reads the end of a broken stream like that of a complete one, and may cancel the call only
        # later. What is sent tells them apart: it cannot be sent on a stream that broke. Once begun, the
        # sending must end before a status can be sent.
        await run_to_completion(context.send_initial_metadata(()))

    async def _next(self, parts: AsyncIterator[_Part]) -> _Part | None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await anext(parts, None)
        except TimeoutError as error:
            reason = f"the stream was silent for {self._stall_seconds:g} seconds"
            raise RegistryError(ErrorCode.UNAVAILABLE, reason) from error


def declared_length(header: blob_pb2.AppendHeader) -> int | None:
    """The length that the caller gave; None when it gave none."""
    return header.length if header.HasField("length") else None


def upload_key(key: blob_pb2.UploadKey) -> UploadKey:
    """An upload's key from the wire; raises RegistryError NAME_INVALID or BLOB_UPLOAD_UNKNOWN."""
    try:
        return UploadKey.parse(key.repository, key.id)
    except InvalidReferenceError as error:
        raise _name_invalid(key.repository, error) from error
    except InvalidUploadIdError as error:
        raise upload_unknown(key.id) from error


def _name_invalid(name: str, error: InvalidReferenceError) -> RegistryError:
    return RegistryError(ErrorCode.NAME_INVALID, {"name": name[:256], "reason": str(error)[:300]})


def upload_message(upload: Upload) -> blob_pb2.Upload:
    """An upload on the wire."""
    key = blob_pb2.UploadKey(repository=upload.key.repository, id=upload.key.id)
    return blob_pb2.Upload(key=key, offset=upload.offset, started_at=upload.started_at)
