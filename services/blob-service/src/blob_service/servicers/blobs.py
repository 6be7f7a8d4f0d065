"""moorage.v1.BlobStore."""

# ruff: noqa: N802  methods have the contract's names

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from blob_service.blobs import Blob, Blobs
from blob_service.drivers.interface import RedirectRequest
from blob_service.failures import parse_digest, storage_failures
from blob_service.tickets import LIFETIME, Tickets
from moorage.errors import ErrorCode, RegistryError
from moorage.v1 import blob_pb2, common_pb2
from moorage.v1.blob_pb2_grpc import BlobStoreServicer

# What is known of a blob's type here, where it is only bytes.
MEDIA_TYPE = "application/octet-stream"

MAX_DIGESTS = 1000

# Digests in a page: 10,000 are less than a megabyte.
MAX_PAGE = 10_000

# The call's servicer context; grpcio types it differently in each handler shape.
_Context = Any


class BlobStore(BlobStoreServicer):
    """Serves the blobs."""

    def __init__(self, blobs: Blobs, tickets: Tickets, *, data_port: int) -> None:
        """`data_port` is where tickets are redeemed; 0 for nowhere."""
        self._blobs = blobs
        self._tickets = tickets
        self._data_port = data_port

    async def Stat(self, request: blob_pb2.StatRequest, context: _Context) -> blob_pb2.StatResponse:
        """See blob.proto."""
        if len(request.digests) > MAX_DIGESTS:
            detail = {"digests": len(request.digests), "limit": MAX_DIGESTS}
            raise RegistryError(ErrorCode.SIZE_INVALID, detail)
        digests = [parse_digest(text) for text in request.digests]
        with storage_failures():
            found = await self._blobs.stat(digests)
        return blob_pb2.StatResponse(descriptors=[descriptor_of(blob) for blob in found])

    async def Read(
        self, request: blob_pb2.ReadRequest, context: _Context
    ) -> AsyncIterator[blob_pb2.ReadResponse]:
        """See blob.proto."""
        digest = parse_digest(request.digest)
        with storage_failures():
            async with await self._blobs.read(digest, request.offset, request.length or None) as chunks:
                async for chunk in chunks:
                    yield blob_pb2.ReadResponse(data=chunk)

    async def Open(self, request: blob_pb2.OpenRequest, context: _Context) -> blob_pb2.OpenResponse:
        """See blob.proto."""
        if not self._data_port:
            raise RegistryError(ErrorCode.UNSUPPORTED, message="this blob service has no data port")
        if request.loan.WhichOneof("work") not in ("send", "receive"):
            raise RegistryError(ErrorCode.UNSUPPORTED, message="a ticket is for sending or receiving")
        ticket = self._tickets.issue(request.loan)
        return blob_pb2.OpenResponse(ticket=ticket, port=self._data_port, expires_in=LIFETIME)

    async def Redirect(
        self, request: blob_pb2.RedirectRequest, context: _Context
    ) -> blob_pb2.RedirectResponse:
        """See blob.proto."""
        digest = parse_digest(request.digest)
        asked = RedirectRequest(request.method, request.client_address)
        with storage_failures():
            url = await self._blobs.redirect_url(digest, asked)
        return blob_pb2.RedirectResponse(url=url or "")

    async def Get(self, request: blob_pb2.GetRequest, context: _Context) -> blob_pb2.GetResponse:
        """See blob.proto."""
        digest = parse_digest(request.digest)
        with storage_failures():
            return blob_pb2.GetResponse(content=await self._blobs.get(digest, request.max_size))

    async def Delete(self, request: blob_pb2.DeleteRequest, context: _Context) -> blob_pb2.DeleteResponse:
        """See blob.proto."""
        digest = parse_digest(request.digest)
        with storage_failures():
            await self._blobs.delete(digest)
        return blob_pb2.DeleteResponse()

    async def List(self, request: blob_pb2.ListBlobsRequest, context: _Context) -> blob_pb2.ListBlobsResponse:
        """See blob.proto."""
        if request.limit < 0:
            raise RegistryError(ErrorCode.PAGINATION_NUMBER_INVALID, {"n": request.limit})
        after = str(parse_digest(request.after)) if request.after else ""
        with storage_failures():
            digests, more = await self._blobs.page(after, min(request.limit or MAX_PAGE, MAX_PAGE))
        return blob_pb2.ListBlobsResponse(digests=map(str, digests), more=more)


def descriptor_of(blob: Blob) -> common_pb2.Descriptor:
    """A blob on the wire."""
    return common_pb2.Descriptor(media_type=MEDIA_TYPE, digest=str(blob.digest), size=blob.size)
