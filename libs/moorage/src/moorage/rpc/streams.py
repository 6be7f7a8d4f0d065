"""Calls whose requests are a stream: sent with backpressure, answered with the service's own status.

Two things about grpc.aio make this more than a loop of writes. When the service answers (or its connection
goes) while a message is on its way, grpc.aio replaces the call's status by an INTERNAL of its own: the first
status that the call had is kept here. And what it raises then is not always an AioRpcError.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from moorage.errors import ErrorCode, RegistryError
from moorage.rpc.status import has_details, unpack

_T = TypeVar("_T")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


async def send_stream(
    call: grpc.aio.StreamUnaryCall[_Request, _Response],
    messages: AsyncGenerator[_Request, None],
    *,
    stall: float,
) -> _Response:
    """Send the messages and give the service's reply, which may come before the last of them.

    `stall` is how many seconds a message may take to be taken, and the reply to come after the last one. If
    `messages` raises, or the caller is cancelled, so is the call: the service sees a stream that broke, not
    one that ended. Raises RegistryError: what the service answered, or UNAVAILABLE when it did not.
    """
    statuses: list[grpc.aio.AioRpcError] = []
    call.add_done_callback(lambda done: statuses.append(_status_of(done)))
    try:
        await _write_all(call, messages, stall)
        async with asyncio.timeout(stall):
            return await call
    except grpc.aio.AioRpcError as error:
        statuses.append(error)
        raise unpack(next(filter(_is_the_services, statuses), error)) from error
    except TimeoutError:
        raise RegistryError(ErrorCode.UNAVAILABLE, f"the service stood still for {stall:g} seconds") from None
    finally:
        # Without effect on a call that has ended.
        call.cancel()


async def _write_all(
    call: grpc.aio.StreamUnaryCall[_Request, _Response],
    messages: AsyncGenerator[_Request, None],
    stall: float,
) -> None:
    """Write the messages and the end of the stream, unless the call is over before."""
    async with aclosing(messages):
        async for message in messages:
            if call.done():
                return
            try:
                async with asyncio.timeout(stall):
                    await call.write(message)
            except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
                # The call is over; its status says why.
                return
    try:
        async with asyncio.timeout(stall):
            await call.done_writing()
    except grpc.aio.InternalError:
        return


def _status_of(call: grpc.aio.Call) -> grpc.aio.AioRpcError:
    """The status that a call which is over has at this moment."""
    trailing = _result(call.trailing_metadata())
    return grpc.aio.AioRpcError(
        _result(call.code()), grpc.aio.Metadata(), trailing, _result(call.details()), None
    )


def _result(ready: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        ready.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        ready.close()
    raise RuntimeError("the call is not over")


def _is_the_services(error: grpc.aio.AioRpcError) -> bool:
    """Whether a status came from the service or its connection, not from a write that failed."""
    return error.code() is not grpc.StatusCode.INTERNAL or has_details(error)
