"""Calls whose requests are a stream."""

# ruff: noqa: N802  methods have the contract's names

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, RpcServer, open_channel, send_stream
from moorage.v1 import blob_pb2, blob_pb2_grpc


class Counter(blob_pb2_grpc.UploadsServicer):
    """Counts the bytes of a stream; its first message says how it goes wrong."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.broken = asyncio.Event()
        self.received = 0

    async def Append(self, request_iterator, context):
        try:
            async for request in request_iterator:
                self.begun.set()
                self.received += len(request.data)
                match request.header.key.id:
                    case "refuse":
                        raise RegistryError(ErrorCode.RANGE_INVALID, {"offset": 7})
                    case "hang":
                        await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.broken.set()
            raise
        return blob_pb2.Upload(offset=self.received)


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[tuple[Counter, blob_pb2_grpc.UploadsAsyncStub]]:
    address = Address.parse(f"unix://{tmp_path}/uploads.sock")
    server = RpcServer(address)
    servicer = Counter()
    server.add("moorage.v1.Uploads", lambda s: blob_pb2_grpc.add_UploadsServicer_to_server(servicer, s))
    await server.start()
    channel = open_channel(address)
    yield servicer, blob_pb2_grpc.UploadsStub(channel)
    await channel.close()
    await server.stop(0)


async def messages(mode: str, sizes: list[int]):
    yield blob_pb2.AppendRequest(header=blob_pb2.AppendHeader(key=blob_pb2.UploadKey(id=mode)))
    for size in sizes:
        yield blob_pb2.AppendRequest(data=bytes(size))


async def test_the_messages_arrive_and_the_reply_comes_back(counter) -> None:
    reply = await send_stream(counter[1].Append(timeout=10), messages("", [1000] * 50), stall=5)
    assert reply.offset == 50_000


async def test_a_refusal_before_the_last_message_is_what_the_caller_gets(counter) -> None:
    for _ in range(20):
        with pytest.raises(RegistryError) as caught:
            await send_stream(counter[1].Append(timeout=10), messages("refuse", [1 << 16] * 100), stall=5)
        assert caught.value.entries[0].detail == {"offset": 7}


async def test_a_service_that_stands_still_is_unavailable(counter) -> None:
    with pytest.raises(RegistryError) as caught:
        await send_stream(counter[1].Append(), messages("hang", [1 << 20] * 64), stall=0.2)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    await asyncio.wait_for(counter[0].broken.wait(), 5)


async def test_a_source_that_fails_breaks_the_stream_and_passes_through(counter) -> None:
    async def failing():
        yield blob_pb2.AppendRequest(data=b"x")
        raise ValueError("the client went away")

    with pytest.raises(ValueError, match="went away"):
        await send_stream(counter[1].Append(), failing(), stall=5)
    await asyncio.sleep(0.1)
    reply = await send_stream(counter[1].Append(timeout=10), messages("", []), stall=5)
    assert reply.offset == counter[0].received


async def test_a_caller_that_is_cancelled_breaks_the_stream(counter) -> None:
    task = asyncio.create_task(send_stream(counter[1].Append(), messages("hang", [1]), stall=5))
    await asyncio.wait_for(counter[0].begun.wait(), 5)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    await asyncio.wait_for(counter[0].broken.wait(), 5)
