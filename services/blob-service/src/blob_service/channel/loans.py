"""Working off loans: what is done for one, what the gateway is told, and what is counted."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine
from contextlib import closing
from typing import Any

import structlog

from blob_service.blobs import Blobs
from blob_service.channel.body import Body
from blob_service.channel.client import Client, ClientGoneError
from blob_service.channel.gateway import Gateway, GatewayGoneError, Received
from blob_service.channel.memory import BodyMemory
from blob_service.channel.receiving import framing_of, receive
from blob_service.channel.sending import Sending
from blob_service.drivers.threads import ThreadPool, settle
from blob_service.metrics import LOAN_BYTES, LOANS, LOANS_OPEN
from blob_service.tickets import Tickets
from blob_service.uploads import Uploads
from moorage import context, tracing
from moorage.channel import MAX_TAIL
from moorage.errors import ErrorCode, RegistryError
from moorage.pace import ANY_RATE, MinimumRate
from moorage.rpc import error_details
from moorage.v1 import blob_pb2

# Seconds between two words that a loan is still worked on. Source: blob.proto, `Working`.
_WORKING = 5.0

# Seconds that a gateway may take to end its side: once the body has ended, and after a failure.
_END_SECONDS = 10.0

log = structlog.get_logger(__name__)

Event = blob_pb2.LoanEvent


class Loans:
    """Works off loans. A client may stand still for `stall` seconds, and be as slow as `minimum` says."""

    def __init__(
        self,
        blobs: Blobs,
        uploads: Uploads,
        tickets: Tickets,
        threads: ThreadPool,
        *,
        stall: float,
        minimum: MinimumRate = ANY_RATE,
    ) -> None:
        self._blobs = blobs
        self._uploads = uploads
        self._tickets = tickets
        self._threads = threads
        self._stall = stall
        self._minimum = minimum
        self._memory = BodyMemory()

    async def work_off(self, gateway: Gateway, received: Received) -> None:
        """Work off one loan, to its last event. Raises GatewayGoneError; the loan is dropped then."""
        context.request_id.set(context.accept_request_id(received.loan.request_id))
        started, loan, outcome = time.perf_counter(), received.loan, "gateway gone"
        span: Any = None
        if tracing.is_on():
            span = tracing.enter_server_span("loan", {"traceparent": loan.traceparent}, {})
        try:
            with LOANS_OPEN.track_inprogress():
                if received.client is None:
                    redeemed = await self._redeemed(gateway, loan.ticket)
                    if redeemed is None:
                        outcome = ErrorCode.DENIED.name.lower()
                        return
                    loan = redeemed
                    outcome = await self._serve(gateway, loan, await gateway.tail(), gateway.socket)
                else:
                    work = self._serve(gateway, loan, await gateway.tail(), received.client)
                    outcome = await _while_connected(gateway, work)
        finally:
            if received.client is not None:
                received.client.close()
            kind = str(loan.WhichOneof("work"))
            LOANS.labels(kind, outcome).inc()
            if span is not None:
                tracing.leave_server_span(span, sys.exception(), {"loan.work": kind, "loan.outcome": outcome})
            log.debug("loan", work=kind, outcome=outcome, duration=round(time.perf_counter() - started, 6))

    async def _redeemed(self, gateway: Gateway, ticket: bytes) -> blob_pb2.Loan | None:
        try:
            return self._tickets.redeem(ticket)
        except RegistryError as error:
            await gateway.send(Event(failed=blob_pb2.Failed(errors=error_details(error))))
            await gateway.linger(_END_SECONDS)
            return None

    async def _serve(self, gateway: Gateway, loan: blob_pb2.Loan, tail: bytes, connection: Any) -> str:
        """Do the work and send the last event; the outcome, for the metric."""
        client = Client(connection, stall=self._stall, minimum=self._minimum)
        if loan.WhichOneof("work") == "send":
            return await self._send(gateway, client, loan.send)
        return await self._receive(gateway, client, loan.receive, tail)

    async def _send(self, gateway: Gateway, client: Client, work: blob_pb2.SendLoan) -> str:
        async def started() -> None:
            await gateway.send(Event(started=blob_pb2.Started()))

        sending = Sending(self._blobs, self._threads, work, client, on_start=started)
        try:
            failed = await _failure(sending.run())
        finally:
            LOAN_BYTES.labels("send").inc(sending.moved)
        if failed is None:
            await gateway.send(Event(finished=blob_pb2.Finished(moved=sending.moved)))
            return "finished"
        failed.moved = sending.moved
        # On a connection that stands for the client's, an event would be taken for bytes of the blob: only
        # its early end says that they are not all there.
        if gateway.is_local or not sending.started:
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
            failed = blob_pb2.Failed(errors=error_details(error), untouched=True)
            await gateway.send(Event(failed=failed))
            return _outcome(failed)
        on_end = None if gateway.is_local else body_ended
        body = Body(client, framing, tail, memory=self._memory, threads=self._threads, on_end=on_end)
        with closing(body):
            return await self._fill(gateway, body, work)

    async def _fill(self, gateway: Gateway, body: Body, work: blob_pb2.ReceiveLoan) -> str:
        """Fill an upload with a body, and send the last event; the outcome."""
        finished = blob_pb2.Finished()

        async def run() -> None:
            finished.CopyFrom(await receive(self._uploads, work, body))

        try:
            refused = await _failure(run())
        finally:
            LOAN_BYTES.labels("receive").inc(body.moved)
        rest = await self._rest(gateway, body)
        if refused is None:
            await gateway.send(Event(finished=finished), rest)
            return "finished"
        refused.moved = body.moved
        refused.untouched = body.untouched
        refused.body_ended = body.ended
        await gateway.send(Event(failed=refused), rest)
        if not (body.ended or gateway.is_local):
            await gateway.linger(_END_SECONDS)
        return _outcome(refused)

    async def _rest(self, gateway: Gateway, body: Body) -> bytes:
        """What came in behind a body; nothing if that has not ended."""
        if not body.ended:
            return b""
        if gateway.is_local:
            return body.rest
        # It may have ended before anybody asked for a block: an empty one, of an upload that is refused.
        await body.tell_end()
        return body.rest + await gateway.read_to_end(MAX_TAIL - len(body.rest), seconds=_END_SECONDS)


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
    gone = asyncio.ensure_future(gateway.wait())
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
        # The client's socket is in use until the work has ended, and is closed then.
        await settle(working)
        await settle(gone)
