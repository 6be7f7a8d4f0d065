"""The data channel on one host: the client's socket goes to the blob service."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from api_gateway.clients.channel.connections import ChannelBrokenError, ChannelConnection
from api_gateway.clients.channel.interface import (
    ChannelUnavailableError,
    DataChannel,
    put_head,
    service_gone,
    settle_body,
    settle_response,
)
from api_gateway.connection import LentBody, LentResponse
from moorage.v1 import blob_pb2

# Connections that are kept for the next loan, at most.
_IDLE = 64


class LendingChannel(DataChannel):
    """Lends to the blob service whose data socket is at `path`; it may say nothing for `silence` seconds."""

    def __init__(self, path: Path, *, silence: float) -> None:
        self._path = path
        self._silence = silence
        self._idle: deque[ChannelConnection] = deque()

    async def send(self, lent: LentResponse, work: blob_pb2.SendLoan) -> None:
        """See `DataChannel.send`."""
        length = put_head(lent, work)
        async with self._connection() as connection:
            try:
                await connection.lend(blob_pb2.Loan(send=work), descriptor=lent.descriptor)
                event, _ = await self._event(connection)
                if event.WhichOneof("event") == "started":
                    lent.started = True
                    event, _ = await self._event(connection)
            except ChannelBrokenError as error:
                if lent.started:
                    raise service_gone() from error
                raise ChannelUnavailableError from error
            self._keep(connection)
        settle_response(lent, length, event)

    async def receive(self, lent: LentBody, work: blob_pb2.ReceiveLoan) -> blob_pb2.Finished:
        """See `DataChannel.receive`."""
        async with self._connection() as connection:
            loan = blob_pb2.Loan(receive=work)
            await connection.lend(loan, lent.received, descriptor=lent.descriptor)
            try:
                event, rest = await self._event(connection)
            except ChannelBrokenError as error:
                raise service_gone() from error
            self._keep(connection)
        return settle_body(lent, event, rest)

    async def _event(self, connection: ChannelConnection) -> tuple[blob_pb2.LoanEvent, bytes]:
        while True:
            event, tail = await connection.event(timeout=self._silence)
            if event.WhichOneof("event") != "working":
                return event, tail

    async def close(self) -> None:
        """See `DataChannel.close`."""
        while self._idle:
            self._discard(self._idle.pop())

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[ChannelConnection]:
        """A connection without a loan. Unless it is kept, it is closed at the end, whatever happened."""
        if self._idle:
            connection = self._idle.pop()
            asyncio.get_running_loop().remove_reader(connection.descriptor)
        else:
            try:
                connection = await ChannelConnection.open_unix(self._path)
            except OSError as error:
                raise ChannelUnavailableError from error
        try:
            yield connection
        finally:
            if connection not in self._idle:
                connection.close()

    def _keep(self, connection: ChannelConnection) -> None:
        if len(self._idle) < _IDLE:
            # Nothing is to be read between two loans but the end of the service.
            asyncio.get_running_loop().add_reader(connection.descriptor, self._discard, connection)
            self._idle.append(connection)

    def _discard(self, connection: ChannelConnection) -> None:
        asyncio.get_running_loop().remove_reader(connection.descriptor)
        if connection in self._idle:
            self._idle.remove(connection)
        connection.close()
