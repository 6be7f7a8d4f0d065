"""Memory stays bounded: a service process in which everything is large, slow or both."""

from __future__ import annotations

import asyncio

import grpc
import psutil

from moorage.v1 import blob_pb2

MIB = 1 << 20


class Peak:
    """The most memory that a process was seen to hold above where it started, in bytes."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._base = process.memory_info().rss
        self.growth = 0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self.growth = max(self.growth, self._process.memory_info().rss - self._base)
            await asyncio.sleep(0.01)

    def stop(self) -> int:
        self._task.cancel()
        return self.growth


async def test_an_upload_of_any_size_takes_little_memory(running_service, digest_of) -> None:
    service, process = await running_service()
    await service.upload(bytes(8 * MIB))
    block = bytes(MIB)
    peak = Peak(process)
    upload = await service.append(await service.start(), (block for _ in range(384)), timeout=120)
    descriptor = await service.commit(upload, digest_of(bytes(384 * MIB)))
    assert descriptor.size == 384 * MIB
    assert peak.stop() < 64 * MIB


async def test_slow_storage_holds_a_fast_sender_back(running_service) -> None:
    """The sender of an append that waits for its turn is not read from."""
    service, process = await running_service()
    upload = await service.start()
    turn = asyncio.Event()

    async def holder():
        yield b"x"
        await turn.wait()

    first = asyncio.create_task(service.append(upload, holder()))
    async with asyncio.timeout(10):
        while (await service.status(upload)).offset != 1:
            await asyncio.sleep(0.01)
    sent = 0

    async def fast():
        nonlocal sent
        for _ in range(256):
            sent += MIB
            yield bytes(MIB)

    peak = Peak(process)
    second = asyncio.create_task(service.append(upload, fast(), offset=1))
    await asyncio.sleep(1.5)
    assert sent < 64 * MIB
    assert peak.stop() < 64 * MIB
    turn.set()
    assert (await first).offset == 1
    assert (await second).offset == 1 + 256 * MIB


async def test_a_slow_reader_holds_storage_back(running_service) -> None:
    service, process = await running_service()
    digest = await service.upload(bytes(256 * MIB))
    peak = Peak(process)
    calls = []
    for _ in range(4):
        call = service.blobs.Read(blob_pb2.ReadRequest(digest=digest), timeout=60)
        await call.read()
        calls.append(call)
    await asyncio.sleep(1.5)
    assert peak.stop() < 64 * MIB
    received = MIB
    while (part := await calls[0].read()) is not grpc.aio.EOF:
        received += len(part.data)
    assert received == 256 * MIB
    for call in calls:
        call.cancel()
