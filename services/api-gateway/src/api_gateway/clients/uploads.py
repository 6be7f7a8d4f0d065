"""Uploads on the blob service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import grpc

from api_gateway.clients.channel import ChannelUnavailableError
from api_gateway.clients.instances import BlobInstances
from api_gateway.connection import LentBody
from moorage.errors import RegistryError
from moorage.rpc import send_stream, unary
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


class UploadBody(Protocol):
    """A request's body, which is lent or streamed, once."""

    @property
    def length(self) -> int | None:
        """Its Content-Length; None if it is chunked."""
        ...

    @property
    def can_lend(self) -> bool:
        """Whether the connection can be lent for it."""
        ...

    def lend(self) -> AbstractAsyncContextManager[LentBody]:
        """Lend the connection."""
        ...

    def pieces(self) -> Pieces:
        """Read it here."""
        ...


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
        self, repository: str, upload_id: str, offset: int, length: int | None, body: UploadBody
    ) -> Upload:
        """Append a body at `offset`; `length` is its bytes in all, when it is known.

        If the body breaks off, its error passes through, and the upload keeps all that came before.
        """
        lent = blob_pb2.ReceiveLoan(append=_append_header(repository, upload_id, offset, length))
        finished = await self._lend(upload_id, lent, body)
        if finished is not None:
            return _upload(finished.appended)
        return await self._append_stream(repository, upload_id, offset, length, body.pieces())

    async def _append_stream(
        self, repository: str, upload_id: str, offset: int, length: int | None, pieces: Pieces
    ) -> Upload:
        header = blob_pb2.AppendRequest(header=_append_header(repository, upload_id, offset, length))
        stub = (await self._instances.for_key(upload_id)).uploads
        call = stub.Append(metadata=call_metadata())  # type: ignore[call-arg]  # it is written to
        messages = _Messages(header, pieces, lambda data: blob_pb2.AppendRequest(data=data))
        return _upload(await self._stream(call, messages))

    async def commit(
        self, repository: str, upload_id: str, offset: int, length: int | None, digest: str, body: UploadBody
    ) -> common_pb2.Descriptor:
        """Append a body, verify the whole against `digest` and store it; the canonical descriptor.

        If the body breaks off, its error passes through, and the upload keeps all that came before.
        """
        if length == 0:
            return await self._commit_stored(repository, upload_id, offset, digest)
        append = _append_header(repository, upload_id, offset, length)
        commit = blob_pb2.CommitHeader(append=append, digest=digest)
        finished = await self._lend(upload_id, blob_pb2.ReceiveLoan(commit=commit), body)
        if finished is not None:
            return finished.committed
        pieces = body.pieces()
        if length is None:
            # In the commit's own stream a part could be taken for the whole, and the upload dropped for it.
            offset = (await self._append_stream(repository, upload_id, offset, None, pieces)).offset
            return await self._commit_stored(repository, upload_id, offset, digest)
        header = blob_pb2.CommitUploadRequest(header=commit)
        stub = (await self._instances.for_key(upload_id)).uploads
        call = stub.Commit(metadata=call_metadata())  # type: ignore[call-arg]  # it is written to
        messages = _Messages(header, pieces, lambda data: blob_pb2.CommitUploadRequest(data=data))
        return (await self._stream(call, messages)).descriptor

    async def _commit_stored(
        self, repository: str, upload_id: str, offset: int, digest: str
    ) -> common_pb2.Descriptor:
        request = blob_pb2.CommitStoredRequest(key=_key(repository, upload_id), offset=offset, digest=digest)
        stub = (await self._instances.for_key(upload_id)).uploads
        # Not the deadline of a small call: an instance that did not see all of the upload reads it again.
        return (await unary(stub.CommitStored, request, timeout=self._stall)).descriptor

    async def _lend(
        self, upload_id: str, work: blob_pb2.ReceiveLoan, body: UploadBody
    ) -> blob_pb2.Finished | None:
        """Have the blob service read the body from the client itself; None if only a stream is left."""
        if not body.can_lend:
            return None
        if body.length is None:
            work.chunked = True
        else:
            work.length = body.length
        instance = self._instances.chosen(upload_id)
        async with body.lend() as lent:
            try:
                return await instance.data.receive(lent, work)
            except ChannelUnavailableError:
                lent.returned_untouched()
        return None

    async def cancel(self, repository: str, upload_id: str, offset: int) -> None:
        """Drop an upload."""
        request = blob_pb2.CancelUploadRequest(key=_key(repository, upload_id), offset=offset)
        stub = (await self._instances.for_key(upload_id)).uploads
        await unary(stub.Cancel, request, timeout=self._timeout)

    async def _stream(
        self, call: grpc.aio.StreamUnaryCall[_Message, _Reply], messages: _Messages[_Message]
    ) -> _Reply:
        """Write the messages and read the reply.

        When the messages break off, the stream is ended all the same, and not cancelled, so that nothing that
        is under way is lost. The service sees by the header's length that it is not whole.
        """
        try:
            reply = await send_stream(call, messages.stream(), stall=self._stall)
        except RegistryError as error:
            raise messages.broken or error from None
        if messages.broken is not None:
            raise messages.broken
        return reply


class _Messages(Generic[_Message]):
    """A header and the pieces of a body, as messages; when the body breaks off they end, and say why."""

    def __init__(self, header: _Message, pieces: Pieces, wrap: Callable[[bytes], _Message]) -> None:
        self._header: _Message = header
        self._pieces = pieces
        self._wrap: Callable[[bytes], _Message] = wrap
        self.broken: Exception | None = None

    async def stream(self) -> AsyncGenerator[_Message, None]:
        """The messages, each of at most `_PIECE_BYTES` of data."""
        yield self._header
        async with aclosing(self._pieces):
            while (piece := await self._next()) is not None:
                for start in range(0, len(piece), _PIECE_BYTES):
                    yield self._wrap(piece[start : start + _PIECE_BYTES])

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._pieces, None)
        except Exception as reason:
            self.broken = reason
            return None


def _key(repository: str, upload_id: str) -> blob_pb2.UploadKey:
    return blob_pb2.UploadKey(repository=repository, id=upload_id)


def _append_header(repository: str, upload_id: str, offset: int, length: int | None) -> blob_pb2.AppendHeader:
    return blob_pb2.AppendHeader(key=_key(repository, upload_id), offset=offset, length=length)


def _upload(message: blob_pb2.Upload) -> Upload:
    return Upload(message.key.repository, message.key.id, message.offset, message.started_at)
