"""Working off loans: one after the other on each connection of a gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from blob_service.blobs import Blobs
from blob_service.channel.body import Body
from blob_service.channel.client import Client, ClientGoneError
from blob_service.channel.gateway import Gateway, GatewayGoneError, Received
from blob_service.channel.receiving import framing_of, receive
from blob_service.channel.sending import Sending
from blob_service.drivers.threads import ThreadPool
from blob_service.metrics import LOANS, LOANS_OPEN
from blob_service.tickets import Tickets
from blob_service.uploads import Uploads
from moorage import context
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import error_details
from moorage.v1 import blob_pb2

# Seconds between two words that a loan is still worked on. Source: blob.proto, `Working`.
_WORKING = 5.0

# What may come in behind a body that was spliced: what a gateway's pipe holds.
_BEHIND = 4 << 20

# Seconds that a gateway may take to end its side once the body has ended.
_END_SECONDS = 10.0

log = structlog.get_logger(__name__)

Event = blob_pb2.LoanEvent


class Loans:
    """Works off loans. A client may stand still for `stall` seconds."""

    def __init__(
        self, blobs: Blobs, uploads: Uploads, tickets: Tickets, threads: ThreadPool, *, stall: float
    ) -> None:
        self._blobs = blobs
        self._uploads = uploads
        self._tickets = tickets
        self._threads = threads
        self._stall = stall

    async def work_off(self, gateway: Gateway, received: Received) -> None:
        """Work off one loan, to its last event. Raises GatewayGoneError; the loan is dropped then."""
        context.request_id.set(context.accept_request_id(received.loan.request_id))
        started, kind, outcome = time.perf_counter(), "ticket", "gateway gone"
        try:
            with LOANS_OPEN.track_inprogress():
                if received.client is None:
                    loan = await self._redeemed(gateway, received.loan)
                    kind = str(loan.WhichOneof("work"))
                    outcome = await self._serve(gateway, loan, received.tail, gateway.socket)
                else:
                    kind = str(received.loan.WhichOneof("work"))
                    work = self._serve(gateway, received.loan, received.tail, received.client)
                    outcome = await _while_connected(gateway, work)
        finally:
            if received.client is not None:
                received.client.close()
            LOANS.labels(kind, outcome).inc()
            log.debug("loan", work=kind, outcome=outcome, duration=round(time.perf_counter() - started, 6))

    async def _redeemed(self, gateway: Gateway, loan: blob_pb2.Loan) -> blob_pb2.Loan:
        try:
            return self._tickets.redeem(loan.ticket)
        except RegistryError as error:
            await gateway.send(Event(failed=blob_pb2.Failed(errors=error_details(error))))
            raise GatewayGoneError("a ticket was not valid") from error

    async def _serve(self, gateway: Gateway, loan: blob_pb2.Loan, tail: bytes, connection: Any) -> str:
        """Do the work and send the last event; the outcome, for the metric."""
        client = Client(connection, stall=self._stall)
        if loan.WhichOneof("work") == "send":
            return await self._send(gateway, client, loan.send)
        return await self._receive(gateway, client, loan.receive, tail)

    async def _send(self, gateway: Gateway, client: Client, work: blob_pb2.SendLoan) -> str:
        sending = Sending(self._blobs, self._threads, work)
        failed = await _failure(sending.run(client, lambda: gateway.send(Event(started=blob_pb2.Started()))))
        if failed is None:
            await gateway.send(Event(finished=blob_pb2.Finished(moved=sending.moved)))
            return "finished"
        failed.moved = sending.moved
        await gateway.send(Event(failed=failed))
        return _outcome(failed)

    async def _receive(
        self, gateway: Gateway, client: Client, work: blob_pb2.ReceiveLoan, tail: bytes
    ) -> str:
        async def body_ended() -> None:
            await gateway.send(Event(body_ended=blob_pb2.BodyEnded()))

        try:
            framing = framing_of(work)
        except RegistryError as error:
            await gateway.send(Event(failed=blob_pb2.Failed(errors=error_details(error), untouched=True)))
            return "refused"
        body = Body(client, framing, tail, on_end=None if gateway.is_local else body_ended)
        finished = blob_pb2.Finished()

        async def run() -> None:
            finished.CopyFrom(await receive(self._uploads, work, body))

        failed = await _failure(run())
        rest = body.rest if body.ended else b""
        if body.ended and not gateway.is_local:
            async with asyncio.timeout(_END_SECONDS):
                rest += await gateway.read_to_end(_BEHIND)
        if failed is None:
            await gateway.send(Event(finished=finished), rest)
            return "finished"
        failed.moved = body.moved
        failed.untouched = body.untouched and gateway.is_local
        failed.body_ended = body.ended
        await gateway.send(Event(failed=failed), rest)
        if not (body.ended or gateway.is_local):
            await gateway.linger(_END_SECONDS)
        return _outcome(failed)


async def _failure(work: Coroutine[Any, Any, None]) -> blob_pb2.Failed | None:
    """Run the work; what its last event says if it failed."""
    try:
        await work
    except ClientGoneError:
        return blob_pb2.Failed()
    except RegistryError as error:
        return blob_pb2.Failed(errors=error_details(error))
    except GatewayGoneError:
        raise
    except Exception:
        log.exception("unexpected error in a loan")
        return blob_pb2.Failed(errors=error_details(RegistryError(ErrorCode.UNKNOWN)))
    return None


def _outcome(failed: blob_pb2.Failed) -> str:
    return failed.errors[0].code.lower() if failed.errors else "client gone"


async def _while_connected(gateway: Gateway, work: Coroutine[Any, Any, str]) -> str:
    """Do the work as long as the gateway is there, and tell it now and then that it is being done."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(gateway.wait_until_gone())
    try:
        while True:
            done, _ = await asyncio.wait(
                (working, gone), timeout=_WORKING, return_when=asyncio.FIRST_COMPLETED
            )
            if working in done:
                return working.result()
            if gone in done:
                raise GatewayGoneError("the gateway left in mid-loan")
            await gateway.send(Event(working=blob_pb2.Working()))
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


Handler = Callable[[Gateway, Received], Awaitable[None]]


async def serve_connection(
    gateway: Gateway, work_off: Handler, *, first: float, idle: Callable[[bool], None]
) -> None:
    """Work off a connection's loans until it ends. `first` is how long the first one may take to come (s).

    `idle` is told whether the connection waits for a loan.
    """
    with suppress(GatewayGoneError, TimeoutError):
        idle(True)
        async with asyncio.timeout(first):
            received = await gateway.next_loan()
        while received is not None:
            idle(False)
            await work_off(gateway, received)
            if not gateway.is_local:
                return
            idle(True)
            received = await gateway.next_loan()
