"""Reading blobs from the blob service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc

from api_gateway.clients.instances import BlobInstances
from api_gateway.connection import LentResponse
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import rpc_errors
from moorage.rpc.client import call_metadata
from moorage.v1 import blob_pb2


class BlobReader:
    """Streams blobs. `stall` is how long, in seconds, the blob service may send nothing."""

    def __init__(self, instances: BlobInstances, *, stall: float) -> None:
        self._instances = instances
        self._stall = stall

    async def read(self, digest: str, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """`length` bytes (at least one) of a blob from `start`, in pieces of at most 1 MiB.

        The last piece comes when the service has said that it was the last. Closing the generator cancels the
        call. Raises RegistryError: BLOB_UNKNOWN, UNAVAILABLE, and UNKNOWN when the blob is of another length.
        """
        stub = (await self._instances.for_key(digest)).store
        request = blob_pb2.ReadRequest(digest=digest, offset=start, length=length)
        call = stub.Read(request, metadata=call_metadata())
        missing = length
        try:
            while missing > 0:
                piece = await self._next(call)
                if piece is None or len(piece) > missing:
                    raise wrong_length()
                missing -= len(piece)
                if missing == 0 and await self._next(call) is not None:
                    raise wrong_length()
                yield piece
        finally:
            # Without effect on a call that has ended.
            call.cancel()

    async def send(self, lent: LentResponse, blob: blob_pb2.SendLoan) -> None:
        """Let the blob service write an answer with parts of a blob, straight to the client.

        Raises what `DataChannel.send` does: ChannelUnavailableError if `read` is the only way.
        """
        instance = self._instances.chosen(blob.digest)
        await instance.data.send(lent, blob)

    async def _next(
        self, call: grpc.aio.UnaryStreamCall[blob_pb2.ReadRequest, blob_pb2.ReadResponse]
    ) -> bytes | None:
        """The next message's data; None at the end."""
        try:
            with rpc_errors():
                async with asyncio.timeout(self._stall):
                    # grpcio's end of stream is a marker object, which its stubs do not know.
                    message: object = await call.read()
        except TimeoutError:
            raise RegistryError(ErrorCode.UNAVAILABLE, "the blob service stopped sending") from None
        except RegistryError as error:
            if error.code is not ErrorCode.RANGE_INVALID:
                raise
            # Only its descriptor's length was asked for, so it is not the client's range that is wrong.
            raise wrong_length() from error
        return message.data if isinstance(message, blob_pb2.ReadResponse) else None


def wrong_length() -> RegistryError:
    """The storage holds something else than its metadata say: not the client's fault."""
    return RegistryError(ErrorCode.UNKNOWN, message="the blob is not as long as its descriptor says")
