"""What the ways to move bytes have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from api_gateway.connection import ClientDisconnectedError, LentBody, LentResponse
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import error_of
from moorage.v1 import blob_pb2


class ChannelUnavailableError(Exception):
    """There is no channel at the moment. Nothing was read from the client or written to it."""


class DataChannel(ABC):
    """The data channel to one instance of the blob service.

    Both methods raise ChannelUnavailableError, RegistryError as `blob.proto` says, UNAVAILABLE when the
    service goes away meanwhile, and ClientDisconnectedError when the client does.
    """

    @abstractmethod
    async def send(self, lent: LentResponse, work: blob_pb2.SendLoan) -> None:
        """Write parts of a blob to a client, after the head of the answer. Sets what `lent` tells."""

    @abstractmethod
    async def receive(self, lent: LentBody, work: blob_pb2.ReceiveLoan) -> blob_pb2.Finished:
        """Read a client's body into an upload. Says in `lent` how the connection comes back."""

    @abstractmethod
    async def close(self) -> None:
        """Close what is open. No call may be under way."""


class NoChannel(DataChannel):
    """The channel of a service that has none."""

    async def send(self, lent: LentResponse, work: blob_pb2.SendLoan) -> None:
        """Raise ChannelUnavailableError."""
        raise ChannelUnavailableError

    async def receive(self, lent: LentBody, work: blob_pb2.ReceiveLoan) -> blob_pb2.Finished:
        """Raise ChannelUnavailableError."""
        raise ChannelUnavailableError

    async def close(self) -> None:
        """There is nothing to close."""


def service_gone() -> RegistryError:
    """The blob service went away, or stopped answering, while it had the connection."""
    return RegistryError(ErrorCode.UNAVAILABLE, "the blob service went away")


def failure(failed: blob_pb2.Failed) -> Exception:
    """Why a loan failed."""
    return error_of(failed.errors) if failed.errors else ClientDisconnectedError()


def put_head(lent: LentResponse, work: blob_pb2.SendLoan) -> int:
    """Have the answer's head written before the first part; the bytes of the body that follow it."""
    length = sum(len(part.head) + part.length for part in work.parts) + len(work.tail)
    work.parts[0].head = lent.head + work.parts[0].head
    return length


def settle_response(lent: LentResponse, length: int, event: blob_pb2.LoanEvent) -> None:
    """Note what a loan's last event says of an answer of `length` bytes; raises what it failed with."""
    if event.WhichOneof("event") == "finished":
        lent.written = length
        return
    lent.written = event.failed.moved
    raise failure(event.failed)


def settle_body(lent: LentBody, event: blob_pb2.LoanEvent, rest: bytes) -> blob_pb2.Finished:
    """Note what a loan's last event says of a body, and of what was read behind it; raises its failure."""
    if event.WhichOneof("event") == "finished":
        lent.moved = event.finished.moved
        lent.returned(rest)
        return event.finished
    lent.moved = event.failed.moved
    if event.failed.untouched:
        lent.returned_untouched()
    elif event.failed.body_ended:
        lent.returned(rest)
    raise failure(event.failed)
