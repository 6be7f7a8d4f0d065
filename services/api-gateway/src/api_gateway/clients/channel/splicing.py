"""The data channel between hosts: the blob service's data port, spliced with the client's socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api_gateway.clients.channel.connections import ChannelBrokenError, ChannelConnection
from api_gateway.clients.channel.interface import (
    ChannelUnavailableError,
    DataChannel,
    put_head,
    service_gone,
    settle_body,
    settle_response,
)
from api_gateway.clients.channel.splice import Pipe, SourceError, TargetError
from api_gateway.connection import ClientDisconnectedError, LentBody, LentResponse
from moorage.channel import Tunnels
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Security, unary
from moorage.v1 import blob_pb2, blob_pb2_grpc

# Seconds for which a service that has no data port is not asked again.
_ABSENT = 60.0


class SplicingChannel(DataChannel):
    """Redeems tickets of the blob service at `host`.

    `timeout` is the deadline of a call and of connecting, `stall` how long bytes may stand still; in seconds.
    With `security` the data port is spoken to over mutual TLS.
    """

    def __init__(
        self,
        host: str,
        store: blob_pb2_grpc.BlobStoreAsyncStub,
        *,
        timeout: float,
        stall: float,
        security: Security | None = None,
    ) -> None:
        self._host = host
        self._store = store
        self._security = security
        self._tunnels = Tunnels()
        self._timeout = timeout
        self._stall = stall
        self._absent_until = 0.0

    async def send(self, lent: LentResponse, work: blob_pb2.SendLoan) -> None:
        """See `DataChannel.send`."""
        length = put_head(lent, work)
        async with self._redeemed(blob_pb2.Loan(send=work)) as connection:
            try:
                event, _ = await connection.event(timeout=self._timeout, exact=True)
                if event.WhichOneof("event") == "started":
                    lent.started = True
                    await self._splice_answer(connection, lent, len(lent.head) + length)
                    event, _ = await connection.event(timeout=self._timeout)
            except ChannelBrokenError as error:
                raise service_gone() from error
        settle_response(lent, length, event)

    async def receive(self, lent: LentBody, work: blob_pb2.ReceiveLoan) -> blob_pb2.Finished:
        """See `DataChannel.receive`."""
        loan = blob_pb2.Loan(receive=work)
        async with self._redeemed(loan, lent.received) as connection:
            with Pipe() as pipe:
                sending = asyncio.ensure_future(self._splice_body(pipe, connection, lent, work))
                try:
                    event, rest = await connection.event(timeout=None)
                    await _cancel(sending)
                    if event.WhichOneof("event") == "body_ended":
                        # Behind the body: what the service did not get, and what it got.
                        behind = pipe.rest()
                        connection.end_sending()
                        event, rest = await connection.event(timeout=None)
                        rest += behind
                except ChannelBrokenError as error:
                    raise service_gone() from error
                finally:
                    await _cancel(sending)
                if event.WhichOneof("event") == "failed" and pipe.taken:
                    # What went into the pipe is gone from the connection, whoever has read it.
                    event.failed.untouched = False
        return settle_body(lent, event, rest)

    async def close(self) -> None:
        """See `DataChannel.close`. Each connection ends with its loan, at the latest now."""
        await self._tunnels.close()

    async def _splice_answer(self, connection: ChannelConnection, lent: LentResponse, length: int) -> None:
        with Pipe() as pipe:
            try:
                whole = await pipe.move(
                    connection.descriptor, lent.descriptor, count=length, stall=self._stall
                )
            except SourceError as error:
                raise ChannelBrokenError(str(error)) from error
            except TargetError as error:
                raise ClientDisconnectedError from error
            finally:
                lent.written = max(0, pipe.moved - len(lent.head))
        if not whole:
            raise ChannelBrokenError("the blob service closed the connection")

    async def _splice_body(
        self, pipe: Pipe, connection: ChannelConnection, lent: LentBody, work: blob_pb2.ReceiveLoan
    ) -> None:
        """Pass the body on to its end, which with chunked framing only the service sees, or the client's."""
        counted = work.WhichOneof("framing") == "length"
        count = max(0, work.length - len(lent.received)) if counted else None
        try:
            whole = await pipe.move(lent.descriptor, connection.descriptor, count=count, stall=self._stall)
        except SourceError as error:
            # A client that stands still is for the service to refuse: it has the same deadline.
            whole = error.standstill
        except TargetError:
            # The service has said why, or its silence does.
            return
        if not whole:
            connection.end_sending()

    async def _connect(self, port: int) -> ChannelConnection:
        if self._security is None:
            return await ChannelConnection.open_tcp(self._host, port)
        return await ChannelConnection.open_tls(
            self._host, port, self._security, self._tunnels, seconds=self._timeout
        )

    @asynccontextmanager
    async def _redeemed(self, loan: blob_pb2.Loan, tail: bytes = b"") -> AsyncIterator[ChannelConnection]:
        """A connection to the data port on which the loan is worked off. Raises ChannelUnavailableError."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._absent_until:
            raise ChannelUnavailableError
        try:
            request = blob_pb2.OpenRequest(loan=loan)
            opened = await unary(self._store.Open, request, timeout=self._timeout)
        except RegistryError as error:
            if error.code is ErrorCode.UNSUPPORTED:
                self._absent_until = loop.time() + _ABSENT
            raise ChannelUnavailableError from error
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connect(opened.port)
        except OSError as error:  # TimeoutError is one
            raise ChannelUnavailableError from error
        try:
            await connection.lend(blob_pb2.Loan(ticket=opened.ticket), tail)
            yield connection
        finally:
            connection.close()


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
