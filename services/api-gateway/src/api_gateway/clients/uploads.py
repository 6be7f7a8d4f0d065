"""Uploads on the blob service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
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
        stub = (await self._instances.for_key(repository)).uploads
        return _upload(await unary(stub.Start, request, timeout=self._timeout))

    async def status(self, repository: str, upload_id: str) -> Upload:
        """How far an upload got."""
        request = blob_pb2.UploadStatusRequest(key=_key(repository, upload_id))
        stub = (await self._instances.for_key(upload_id)).uploads
        return _upload(await unary(stub.Status, request, timeout=self._timeout))

    async def append(
        self, repository: str, upload_id: str, offset: int, length: int | None, pieces: Pieces
    ) -> Upload:
        """Append the pieces at `offset`; `length` is their bytes in all, when it is known.

        If `pieces` raises, the error passes through, and the upload keeps all that came before.
        """
        header = blob_pb2.AppendRequest(header=_append_header(repository, upload_id, offset, length))
        stub = (await self._instances.for_key(upload_id)).uploads
        call = stub.Append(metadata=call_metadata())  # type: ignore[call-arg]  # it is written to
        messages = _messages(header, pieces, lambda data: blob_pb2.AppendRequest(data=data))
        return _upload(await self._stream(call, messages))

    async def commit(
        self, repository: str, upload_id: str, offset: int, length: int | None, digest: str, pieces: Pieces
    ) -> common_pb2.Descriptor:
        """Append the pieces, verify the whole against `digest` and store it; the canonical descriptor.

        If `pieces` raises, the error passes through, and the upload keeps all that came before.
        """
        if length is None:
            # In the commit's own stream a part could be taken for the whole, and the upload dropped for it.
            offset = (await self.append(repository, upload_id, offset, None, pieces)).offset
            length, pieces = 0, no_pieces()
        append = _append_header(repository, upload_id, offset, length)
        header = blob_pb2.CommitUploadRequest(header=blob_pb2.CommitHeader(append=append, digest=digest))
        stub = (await self._instances.for_key(upload_id)).uploads
        call = stub.Commit(metadata=call_metadata())  # type: ignore[call-arg]  # it is written to
        messages = _messages(header, pieces, lambda data: blob_pb2.CommitUploadRequest(data=data))
        return (await self._stream(call, messages)).descriptor

    async def cancel(self, repository: str, upload_id: str, offset: int) -> None:
        """Drop an upload."""
        request = blob_pb2.CancelUploadRequest(key=_key(repository, upload_id), offset=offset)
        stub = (await self._instances.for_key(upload_id)).uploads
        await unary(stub.Cancel, request, timeout=self._timeout)

    async def _stream(
        self, call: grpc.aio.StreamUnaryCall[_Message, _Reply], messages: AsyncGenerator[_Message, None]
    ) -> _Reply:
        """Write the messages and read the reply.

        When the messages break off, the stream is ended all the same, and not cancelled, so that nothing that
        is under way is lost. The service sees by the header's length that it is not whole.
        """
        try:
            with rpc_errors():
                if await self._write_all(call, messages):
                    await self._half_close(call)
                return await self._reply(call)
        except TimeoutError:
            raise RegistryError(ErrorCode.UNAVAILABLE, "the blob service stopped taking data") from None
        except _BrokenOffError as broken:
            with suppress(grpc.aio.AioRpcError, TimeoutError):
                await self._half_close(call)
                await self._reply(call)
            raise broken.reason from None
        finally:
            # Without effect on a call that has ended.
            call.cancel()

    async def _write_all(
        self, call: grpc.aio.StreamUnaryCall[_Message, _Reply], messages: AsyncGenerator[_Message, None]
    ) -> bool:
        """Write the messages, one after the other; False when the service has answered before the last."""
        async with aclosing(messages):
            async for message in messages:
                try:
                    async with asyncio.timeout(self._stall):
                        await call.write(message)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    # The call has ended, and its own status says why.
                    return False
        return True

    async def _half_close(self, call: grpc.aio.StreamUnaryCall[_Message, _Reply]) -> None:
        # A call that has ended meanwhile says why when its reply is read.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.done_writing()

    async def _reply(self, call: grpc.aio.StreamUnaryCall[_Message, _Reply]) -> _Reply:
        async with asyncio.timeout(self._stall):
            return await call


class _BrokenOffError(Exception):
    """The data of a stream did not come to their end, for a reason of their own."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


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
        while (piece := await _next(pieces)) is not None:
            for start in range(0, len(piece), _PIECE_BYTES):
                yield wrap(piece[start : start + _PIECE_BYTES])


async def _next(pieces: Pieces) -> bytes | None:
    try:
        return await anext(pieces, None)
    except Exception as reason:
        raise _BrokenOffError(reason) from reason


async def no_pieces() -> AsyncGenerator[bytes, None]:
    """A body of no bytes."""
    return
    yield b""
