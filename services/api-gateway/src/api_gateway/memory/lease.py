"""Holding a lease: one stream to the metadata service, kept for as long as the process serves.

The lease is renewed in time, what the service revokes is forgotten and confirmed, and a stream that breaks is
opened again, with a memory that holds nothing of before. Source: docs/leases.md.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import structlog

from api_gateway import metrics
from api_gateway.memory.leased import Clock, Memory
from moorage.clock import boot_seconds
from moorage.rpc import Channel
from moorage.v1 import metadata_pb2, metadata_pb2_grpc

log = structlog.get_logger("api_gateway.lease")

# What the process relies on of a lease: clocks do not run equally fast.
_RELIED_ON = 0.9

# A lease is renewed when this part of it has passed,
_RENEWED_AFTER = 1 / 3

# and a service that says nothing for so many leases is gone, or takes this process for gone.
_SILENT_LEASES = 2

# Seconds between two attempts to open a stream; each is longer than the one before.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0

# Seconds that the service gets to hear that a lease is released.
_RELEASE = 1.0

_Call = grpc.aio.StreamStreamCall[metadata_pb2.LeaseRequest, metadata_pb2.LeaseResponse]


class StreamEndedError(Exception):
    """The service ended the stream."""


# How a stream ends; a message that is on its way then meets a call that is over.
_BROKEN = (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError, StreamEndedError)


class LeaseStream:
    """One stream, and the lease that is bound to it."""

    def __init__(self, call: _Call, memory: Memory, *, clock: Clock) -> None:
        self._call = call
        self._memory = memory
        self._clock = clock
        # gRPC takes one message at a time.
        self._writing = asyncio.Lock()
        self._asked_at = 0.0
        self._answered = asyncio.Event()
        self._released = False
        self.seconds = 0.0
        """How long the lease is; 0 while there is none."""

    async def run(self) -> None:
        """Hold the lease until the stream ends.

        Raises an exception group of what is in _BROKEN when the stream ended, unless it was released before.
        """
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                await self._receive()
                renewing.cancel()
        finally:
            self._memory.lease_ended()
            # Without effect on a call that has ended.
            self._call.cancel()

    async def release(self) -> None:
        """Forget everything, and tell the service so; `run` ends when it has heard it."""
        self._released = True
        self._memory.lease_ended()
        await self._write(metadata_pb2.LeaseRequest(release=metadata_pb2.LeaseRequest.Release()))
        await self._call.done_writing()

    async def _renew(self) -> None:
        renew = metadata_pb2.LeaseRequest(renew=metadata_pb2.LeaseRequest.Renew())
        while not self._released:
            await self._write(renew)
            await self._answered.wait()
            self._answered.clear()
            await asyncio.sleep(self.seconds * _RENEWED_AFTER)

    async def _receive(self) -> None:
        while True:
            async with asyncio.timeout(self.seconds * _SILENT_LEASES or None):
                # grpcio's end of stream is a marker object, which its stubs do not know.
                message: object = await self._call.read()
            if not isinstance(message, metadata_pb2.LeaseResponse):
                if self._released:
                    return
                raise StreamEndedError("the metadata service ended the stream")
            if self._released:
                continue
            match message.WhichOneof("message"):
                case "granted":
                    self._take_grant(message.granted)
                case "revocation":
                    await self._take_revocation(message.revocation)

    def _take_grant(self, granted: metadata_pb2.LeaseResponse.Granted) -> None:
        first = self.seconds == 0
        self.seconds = granted.milliseconds / 1000
        if self.seconds <= 0:
            # Leases are off. The stream stays: its end says that the service may have changed its mind.
            self._memory.lease_ended()
            return
        self._memory.lease_granted(granted.lease, self._asked_at + self.seconds * _RELIED_ON)
        self._answered.set()
        if first:
            log.info("a lease is held", seconds=self.seconds)

    async def _take_revocation(self, revocation: metadata_pb2.LeaseResponse.Revocation) -> None:
        self._memory.revoke(revocation.repository, revocation.tags, revocation.digests)
        confirm = metadata_pb2.LeaseRequest.Confirm(revocation=revocation.number)
        await self._write(metadata_pb2.LeaseRequest(confirm=confirm))

    async def _write(self, message: metadata_pb2.LeaseRequest) -> None:
        async with self._writing:
            if message.HasField("renew"):
                # The service counts from a later moment, when it gets this.
                self._asked_at = self._clock()
            await self._call.write(message)


class Leaseholder:
    """Opens a stream, and another one when it ends."""

    def __init__(self, channel: Channel, memory: Memory, *, clock: Clock = boot_seconds) -> None:
        self._stub: metadata_pb2_grpc.MetadataAsyncStub = metadata_pb2_grpc.MetadataStub(channel)
        self._memory = memory
        self._clock = clock
        self._stream: LeaseStream | None = None

    async def run(self) -> None:
        """Hold leases until the last one was released."""
        pause = _FIRST_PAUSE
        while True:
            # A service that is away is waited for, without asking again and again.
            call = self._stub.Lease(None, wait_for_ready=True)
            stream = self._stream = LeaseStream(call, self._memory, clock=self._clock)
            try:
                await stream.run()
            except* _BROKEN as failures:
                reason = _reason(failures.exceptions[0])
            except* Exception:
                reason = "an unexpected error"
                log.exception("unexpected error while a lease was held")
            else:
                return
            if stream.seconds:
                pause = _FIRST_PAUSE
                metrics.LEASES_LOST.inc()
                log.warning(
                    "the lease is lost: everything is asked for until there is another", reason=reason
                )
            else:
                log.debug("no lease", reason=reason)
            # Gateways that lost their leases together do not come back together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  not a secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def release(self) -> bool:
        """Forget what is held, and tell the service; False without a lease, when there is nothing to tell."""
        if self._stream is None or not self._stream.seconds:
            return False
        await self._stream.release()
        return True


@asynccontextmanager
async def holding(channel: Channel, memory: Memory) -> AsyncIterator[None]:
    """Hold a lease for the memory while the context is open, whenever the service grants one."""
    holder = Leaseholder(channel, memory)
    task = asyncio.create_task(holder.run())
    try:
        yield
    finally:
        # A stream that is broken needs no release.
        with suppress(*_BROKEN):
            async with asyncio.timeout(_RELEASE):
                if await holder.release():
                    await asyncio.shield(task)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or "the metadata service is silent"
