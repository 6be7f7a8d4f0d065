"""A body's blocks: how they are cut, and how much memory they take."""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import random
import socket
import struct
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, suppress

import pytest

from blob_service.channel.body import Body
from blob_service.channel.chunked import Chunked
from blob_service.channel.client import Client, ClientGoneError
from blob_service.channel.framing import Counted, Framing
from blob_service.channel.memory import BLOCKS, LARGE_BLOCK, SMALL_BLOCK, BodyMemory
from blob_service.drivers.threads import ThreadPool
from moorage.errors import RegistryError
from moorage.pace import MinimumRate

KIB = 1 << 10
MIB = 1 << 20

Receive = Callable[..., Body]


def chunked(content: bytes, chunk: int) -> bytes:
    pieces = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def blocks_of(body: Body) -> list[bytes]:
    return [bytes(block) async for block in body]


async def collect(body: Body, blocks: list[bytes]) -> None:
    async for block in body:
        blocks.append(bytes(block))


@pytest.fixture
def content() -> bytes:
    return random.Random(7).randbytes(3 * SMALL_BLOCK + 2 * LARGE_BLOCK + 12_345)


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPool]:
    pool = ThreadPool("test", 4)
    yield pool
    await pool.close()


@pytest.fixture
async def received(threads: ThreadPool) -> AsyncIterator[Receive]:
    """Sends bytes over a connection, and gives the body that arrives at its other end."""
    async with AsyncExitStack() as stack:

        def received(
            framing: Framing, data: bytes, *, memory: BodyMemory | None = None, tail: int = 0
        ) -> Body:
            ours, theirs = socket.socketpair()
            for end in (ours, theirs):
                end.setblocking(False)
                stack.enter_context(end)

            async def send() -> None:
                await asyncio.get_running_loop().sock_sendall(theirs, data[tail:])
                theirs.shutdown(socket.SHUT_WR)

            sending = asyncio.ensure_future(send())
            stack.push_async_callback(asyncio.gather, sending)
            return Body(
                Client(ours, stall=20), framing, data[:tail], memory=memory or BodyMemory(), threads=threads
            )

        yield received


@pytest.mark.parametrize("chunk", [1000, 32 * KIB, 64 * KIB + 1, MIB])
async def test_a_long_body_comes_in_small_blocks_first_and_then_in_large_ones(
    received, content, chunk
) -> None:
    with closing(received(Chunked(), chunked(content, chunk))) as body:
        blocks = await blocks_of(body)

    assert b"".join(blocks) == content
    assert [len(block) for block in blocks] == [*[SMALL_BLOCK] * BLOCKS, LARGE_BLOCK, LARGE_BLOCK, 12_345]


@pytest.mark.parametrize("tail", [0, 5, 40_000])
async def test_a_counted_body_is_cut_in_the_same_way(received, content, tail) -> None:
    with closing(received(Counted(len(content)), content + b"behind", tail=tail)) as body:
        blocks = await blocks_of(body)

    assert b"".join(blocks) == content
    assert {len(block) for block in blocks[:-1]} == {SMALL_BLOCK, LARGE_BLOCK}


@pytest.mark.parametrize("more", [0, 1, 8 * KIB, 16 * KIB, 20 * KIB])
async def test_a_body_may_end_anywhere_near_the_end_of_a_block(received, more) -> None:
    content = random.Random(more).randbytes(SMALL_BLOCK + more)

    for framing, data in ((Counted(len(content)), content), (Chunked(), chunked(content, 32 * KIB))):
        with closing(received(framing, data)) as body:
            blocks = await blocks_of(body)
        assert b"".join(blocks) == content
        assert all(blocks)
        assert body.moved == len(content)


async def test_blocks_lie_in_whole_pages_of_memory(received, content) -> None:
    with closing(received(Chunked(), chunked(content, 32 * KIB))) as body:
        async for block in body:
            address = ctypes.addressof(ctypes.c_char.from_buffer(block))
            assert address % mmap.PAGESIZE == 0


async def test_what_came_before_the_client_left_comes_out_first(received) -> None:
    content = random.Random(3).randbytes(SMALL_BLOCK + 10 * KIB)
    with closing(received(Counted(len(content) + 1), content)) as body:
        came = bytes(await anext(body)) + bytes(await anext(body))
        with pytest.raises(ClientGoneError):
            await anext(body)

    assert came == content


async def test_what_a_slow_client_has_sent_comes_out_before_it_sends_more(threads) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with closing(
            Body(Client(ours, stall=20), Counted(8), b"01", memory=BodyMemory(), threads=threads)
        ) as body:
            theirs.send(b"23")
            assert bytes(await anext(body)) == b"0123"
            theirs.send(b"4567")
            assert bytes(await anext(body)) == b"4567"
            assert body.ended


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield ours, theirs


async def test_what_a_slow_client_sends_of_a_long_body_is_read_a_few_chunks_at_a_time(
    connection, threads
) -> None:
    ours, theirs = connection
    content = random.Random(3).randbytes(4 * SMALL_BLOCK)
    more = [bytes([number]) * KIB for number in range(200)]
    receives = 0

    class Counting(Client):
        async def receive(self, *arguments, **named) -> int:
            nonlocal receives
            receives += 1
            return await super().receive(*arguments, **named)

    def send() -> None:
        theirs.sendall(content)
        for piece in more:
            # A millisecond of compression.
            time.sleep(0.001)
            theirs.sendall(piece)

    sending = asyncio.get_running_loop().run_in_executor(None, send)
    with closing(
        Body(
            Counting(ours, stall=20),
            Counted(len(content) + 200 * KIB),
            b"",
            memory=BodyMemory(),
            threads=threads,
        )
    ) as body:
        blocks = [bytes(await anext(body)) for _ in range(BLOCKS)]
        before, started = receives, time.monotonic()
        blocks += await blocks_of(body)
        elapsed = time.monotonic() - started
    await sending
    assert b"".join(blocks) == content + b"".join(more)
    # Each waits for four milliseconds, but those that find the mebibyte that came before.
    assert receives - before <= elapsed / 0.004 + 20


async def test_a_client_that_turns_slow_is_held_to_the_minimum(connection, threads) -> None:
    ours, theirs = connection
    begun = bytes(BLOCKS * SMALL_BLOCK + 2 * LARGE_BLOCK)

    def send() -> None:
        with suppress(ConnectionError):
            theirs.sendall(begun)
            while True:
                # More often than a thread gives a client up.
                time.sleep(0.001)
                theirs.sendall(b"x")

    sending = asyncio.get_running_loop().run_in_executor(None, send)
    client = Client(ours, stall=20, minimum=MinimumRate(100_000, window=0.5))
    with closing(Body(client, Counted(2 * len(begun)), b"", memory=BodyMemory(), threads=threads)) as body:
        came: list[bytes] = []
        with pytest.raises(RegistryError, match="too slowly"):
            await collect(body, came)
    ours.close()
    await sending
    assert sum(map(len, came)) > len(begun)


async def test_a_fast_client_that_leaves_is_noticed_by_the_thread_that_reads(connection, threads) -> None:
    ours, theirs = connection
    content = random.Random(5).randbytes(BLOCKS * SMALL_BLOCK + LARGE_BLOCK + 12_345)

    def send() -> None:
        theirs.sendall(content)
        theirs.shutdown(socket.SHUT_WR)

    sending = asyncio.get_running_loop().run_in_executor(None, send)
    body = Body(Client(ours, stall=20), Counted(2 * len(content)), b"", memory=BodyMemory(), threads=threads)
    came: list[bytes] = []
    with closing(body), pytest.raises(ClientGoneError):
        await collect(body, came)
    await sending
    assert b"".join(came) == content


async def test_what_a_thread_read_before_the_connection_broke_comes_out_first(
    connection, threads, monkeypatch
) -> None:
    ours, theirs = connection
    content = random.Random(6).randbytes(BLOCKS * SMALL_BLOCK + LARGE_BLOCK // 2)
    enough = threading.Event()
    receive_now = Client.receive_now

    def receive(self: Client, places: Sequence[memoryview]) -> int | None:
        received = receive_now(self, places)
        if self.read == len(content) and not enough.is_set():
            # The connection is reset while the thread has its turn.
            enough.set()
            sending.join()
        return received

    def send() -> None:
        theirs.sendall(content)
        enough.wait(20)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()

    monkeypatch.setattr(Client, "receive_now", receive)
    sending = threading.Thread(target=send)
    sending.start()
    body = Body(Client(ours, stall=20), Counted(2 * len(content)), b"", memory=BodyMemory(), threads=threads)
    came: list[bytes] = []
    with closing(body), pytest.raises(ClientGoneError):
        await collect(body, came)
    sending.join()
    assert b"".join(came) == content


async def test_a_body_gives_its_memory_back(received, content) -> None:
    memory = BodyMemory(2 * BLOCKS * LARGE_BLOCK)
    for _ in range(3):
        with closing(received(Counted(len(content)), content, memory=memory)) as body:
            blocks = await blocks_of(body)
        assert len(blocks[BLOCKS]) == LARGE_BLOCK


async def test_a_block_is_left_alone_until_two_more_were_asked_for(received, content) -> None:
    memory = BodyMemory()
    other = bytes(SMALL_BLOCK)
    with closing(received(Counted(len(content)), content, memory=memory)) as body:
        blocks: list[memoryview] = []
        whole = 0
        async for block in body:
            blocks = [*blocks[-1:], block]
            whole += len(block)
            # What stayed from this body is used by the next ones.
            for _ in range(2 * BLOCKS):
                with closing(received(Counted(SMALL_BLOCK), other, memory=memory)) as another:
                    assert await blocks_of(another) == [other]
            assert b"".join(blocks) == content[whole - sum(map(len, blocks)) : whole]


async def test_the_blocks_of_a_body_are_used_by_the_next_one(received, content) -> None:
    memory = BodyMemory()

    async def places() -> set[int]:
        with closing(received(Counted(len(content)), content, memory=memory)) as body:
            return {ctypes.addressof(ctypes.c_char.from_buffer(block)) async for block in body}

    assert await places() == await places()


async def test_no_block_stays_for_a_body_that_gets_smaller_ones(received, content) -> None:
    memory = BodyMemory()
    with closing(received(Counted(len(content)), content, memory=memory)) as body:
        await blocks_of(body)
    kept = weakref.ref(memory._kept[LARGE_BLOCK][0])

    assert memory.take() == LARGE_BLOCK
    assert kept() is not None
    assert memory.take() < LARGE_BLOCK
    assert kept() is None


async def test_a_short_body_leaves_the_memory_to_the_long_ones(received) -> None:
    memory = BodyMemory(2 * BLOCKS * LARGE_BLOCK)
    with closing(received(Counted(MIB), bytes(MIB), memory=memory)) as body:
        await blocks_of(body)
        assert memory.take() == LARGE_BLOCK


def test_many_bodies_take_little_more_memory_than_there_is() -> None:
    memory = BodyMemory()

    taken = [memory.take() for _ in range(8)]

    assert taken[0] == LARGE_BLOCK
    assert taken == sorted(taken, reverse=True)
    assert BLOCKS * sum(taken) == 57 * MIB
    for block in taken:
        memory.give_back(block)
    assert memory.take() == LARGE_BLOCK
