"""Uploads on the blob service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import grpc

from api_gateway.clients.instances import BlobInstances
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import rpc_errors, unary
from moorage.rpc.client import call_metadata
from moorage.v1 import blob_pb2, common_pb2

# A message's data, at most.
_PIECE_BYTES = 1 << 20

Pieces = AsyncGenerator[bytes, None]

_Message = TypeVar("_Message", blob_pb2.AppendRequest, blob_pb2.CommitUploadRequest)
_Reply = TypeVar("_Reply", blob_pb2.Upload, blob_pb2.CommitUploadResponse)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as it stands: `offset` bytes are stored; it was started at `started_at` (RFC 3339)."""

    repository: str
    upload_id: str
    offset: int
    started_at: str


class UploadsClient:
    """Calls Uploads. `timeout` is a call's deadline; `stall` how long a stream may not move. Both in seconds.

    All raise RegistryError, as `blob.proto` says.
    """

    def __init__(self, instances: BlobInstances, *, timeout: float, stall: float) -> None:
        self._instances = instances
        self._timeout = timeout
        self._stall = stall

    async def start(self, repository: str, algorithm: str) -> Upload:
        """Start an upload; `algorithm` is the digest's that the client means to commit with, or ""."""
        request = blob_pb2.StartUploadRequest(repository=repository, digest_algorithm=algorithm)
        stub = self._instances.for_key(repository).uploads
        return _upload(await unary(stub.Start, request, timeout=self._timeout))

    async def status(self, repository: str, upload_id: str) -> Upload:
        """How far an upload got."""
        request = blob_pb2.UploadStatusRequest(key=_key(repository, upload_id))
        stub = self._instances.for_key(upload_id).uploads
        return _upload(await unary(stub.Status, request, timeout=self._timeout))

    async def append(
        self, repository: str, upload_id: str, offset: int, length: int | None, pieces: Pieces
    ) -> Upload:
        """Append the pieces at `offset`; `length` is their bytes in all, when it is known.

        If `pieces` raises, the call is cancelled, the upload keeps what has arrived, and the error passes
        through.
        """
        header = blob_pb2.AppendRequest(header=_append_header(repository, upload_id, offset, length))
        call = self._instances.for_key(upload_id).uploads.Append(metadata=call_metadata())  # type: ignore[call-arg]  # written to instead
        messages = _messages(header, pieces, lambda data: blob_pb2.AppendRequest(data=data))
        return _upload(await self._stream(call, messages))

    async def commit(
        self, repository: str, upload_id: str, offset: int, length: int | None, digest: str, pieces: Pieces
    ) -> common_pb2.Descriptor:
        """Append the pieces, verify the whole against `digest` and store it; the canonical descriptor.

        If `pieces` raises, the call is cancelled, the upload keeps what has arrived, and the error passes
        through.
        """
        append = _append_header(repository, upload_id, offset, length)
        header = blob_pb2.CommitUploadRequest(header=blob_pb2.CommitHeader(append=append, digest=digest))
        call = self._instances.for_key(upload_id).uploads.Commit(metadata=call_metadata())  # type: ignore[call-arg]  # written to instead
        messages = _messages(header, pieces, lambda data: blob_pb2.CommitUploadRequest(data=data))
        reply = await self._stream(call, messages)
        return reply.descriptor

    async def cancel(self, repository: str, upload_id: str, offset: int) -> None:
        """Drop an upload."""
        request = blob_pb2.CancelUploadRequest(key=_key(repository, upload_id), offset=offset)
        stub = self._instances.for_key(upload_id).uploads
        await unary(stub.Cancel, request, timeout=self._timeout)

    async def _stream(
        self, call: grpc.aio.StreamUnaryCall[_Message, _Reply], messages: AsyncGenerator[_Message, None]
    ) -> _Reply:
        try:
            with rpc_errors():
                await self._write_all(call, messages)
                async with asyncio.timeout(self._stall):
                    return await call
        except TimeoutError:
            raise RegistryError(ErrorCode.UNAVAILABLE, "the blob service stopped taking data") from None
        finally:
            # Without effect on a call that has ended.
            call.cancel()

    async def _write_all(
        self, call: grpc.aio.StreamUnaryCall[_Message, _Reply], messages: AsyncGenerator[_Message, None]
    ) -> None:
        """Write the messages, one after the other, until the last or until the service has answered."""
        async with aclosing(messages):
            try:
                async for message in messages:
                    async with asyncio.timeout(self._stall):
                        await call.write(message)
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The call has ended, and its own status says why.
                return


def _key(repository: str, upload_id: str) -> blob_pb2.UploadKey:
    return blob_pb2.UploadKey(repository=repository, id=upload_id)


def _append_header(repository: str, upload_id: str, offset: int, length: int | None) -> blob_pb2.AppendHeader:
    return blob_pb2.AppendHeader(key=_key(repository, upload_id), offset=offset, length=length)


def _upload(message: blob_pb2.Upload) -> Upload:
    return Upload(message.key.repository, message.key.id, message.offset, message.started_at)


async def _messages(
    header: _Message, pieces: Pieces, wrap: Callable[[bytes], _Message]
) -> AsyncGenerator[_Message, None]:
    yield header
    async with aclosing(pieces):
        async for piece in pieces:
            for start in range(0, len(piece), _PIECE_BYTES):
                yield wrap(piece[start : start + _PIECE_BYTES])


async def no_pieces() -> AsyncGenerator[bytes, None]:
    """A body of no bytes."""
    return
    yield b""
