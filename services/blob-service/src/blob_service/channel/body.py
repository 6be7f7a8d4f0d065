"""A request's body, read from a client's connection and unframed, as blocks for an upload."""

from __future__ import annotations

import mmap
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from blob_service.channel.client import TURN_SECONDS, Client, ClientGoneError, TooSlowError
from blob_service.channel.framing import Buffer, Framing, Unframed
from blob_service.channel.memory import BLOCKS, LARGE_BLOCK, SMALL_BLOCK, BodyMemory
from blob_service.drivers.threads import ThreadPool
from moorage.errors import ErrorCode, RegistryError

# A long body of which less than this is there at a time comes from a client that is slower than this service
# (docker compresses as it sends): to be woken for each chunk costs more than to hash and store it. So what it
# sends in the seconds that follow is read at once.
_FEW = 128 * 1024
_GATHER_SECONDS = 0.004

# Seconds that a block that has begun waits for more.
_PATIENCE = 0.5


class Body:
    """The blocks of a body, an asynchronous iterator. Each is valid until two more have been asked for.

    `received` is what a gateway has read of it already. `on_end` is awaited once the body's last byte is in.
    Blocks begin with a page of memory, and unless the client is slow all but the last have a power of two
    bytes, so that a driver may write them past the page cache. A body is closed in the end.

    Iteration raises ClientGoneError when the client leaves before that, and RegistryError when it stands
    still or its framing is broken: a part is never taken for the whole.
    """

    def __init__(
        self,
        client: Client,
        framing: Framing,
        received: bytes,
        *,
        memory: BodyMemory,
        threads: ThreadPool,
        on_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._client = client
        self._framing = framing
        self._received = memoryview(received)
        self._on_end = on_end
        self._memory = memory
        self._threads = threads
        # What `memory` gave, once the body turned out long.
        self._taken: int | None = None
        # Made when they are needed: most bodies are small.
        self._buffers: list[Buffer] = []
        self._former: list[Buffer] = []
        self._turn = 0
        # What was read beyond the last block.
        self._spilt = memoryview(b"")
        self._failure: Exception | None = None
        self._told = False
        # Whether the last read brought little.
        self._few = False
        # Bytes of the body that were handed out.
        self.moved = 0
        self._behind = b""

    @property
    def ended(self) -> bool:
        """Whether the body came to its end."""
        return self._framing.ended

    @property
    def rest(self) -> bytes:
        """What was read behind the body, once it has ended."""
        return self._behind + bytes(self._received)

    @property
    def untouched(self) -> bool:
        """Whether nothing was read from the connection, and nothing is wrong with what the gateway read."""
        return self._client.read == 0 and self._failure is None

    async def tell_end(self) -> None:
        """Await `on_end`, unless that has been done."""
        if not self._told:
            self._told = True
            if self._on_end is not None:
                await self._on_end()

    def close(self) -> None:
        """Give back the memory. No block may be in use, or be asked for afterwards."""
        self._give_back(self._former)
        self._give_back(self._buffers)
        if self._taken is not None:
            self._memory.give_back(self._taken)
            self._taken = None

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> memoryview:
        """The next block, of at least one byte."""
        if self._failure is not None and not self._spilt:
            raise self._failure
        buffer, size = self._next_buffer()
        filled = len(self._spilt)
        buffer[:filled] = self._spilt
        try:
            while filled < size and not (self.ended or self._failure):
                more: int | None
                if self._is_fast():
                    more = await self._threads.run(partial(self._fill_in_turn, buffer, filled, size))
                else:
                    more = await self._fill(buffer, filled)
                if more is None:
                    # What a slow client has sent so far is stored meanwhile.
                    break
                filled = more
        except (RegistryError, ClientGoneError) as failure:
            # What came before it counts.
            self._failure = failure
        if self._failure is not None and not filled:
            raise self._failure
        if self.ended:
            await self.tell_end()
        if not filled:
            raise StopAsyncIteration
        count = min(filled, size)
        self._spilt = memoryview(buffer)[count:filled]
        self.moved += count
        return memoryview(buffer)[:count]

    async def _fill(self, buffer: Buffer, filled: int) -> int | None:
        """Read once, and unframe behind the `filled` bytes; how many bytes of the body there are then.

        None when some are there already, and no more come for now.
        """
        if self._received:
            count = min(len(self._received), len(buffer) - filled)
            buffer[filled : filled + count] = self._received[:count]
            self._received = self._received[count:]
            unframed = self._framing.unframe(buffer, filled, filled + count)
        else:
            expected = self._framing.expect(buffer, filled, len(buffer))
            received = await self._receive(expected.places, wait=not filled)
            if received is None:
                return None
            unframed = expected.unframe(received)
        return self._note(unframed)

    def _is_fast(self) -> bool:
        """Whether a thread reads what comes next: for a client that is alone, and sends as much as we take.

        Between its reads it is waited for without the event loop.
        """
        return self._taken == LARGE_BLOCK and not (self._few or self._received)

    def _fill_in_turn(self, buffer: Buffer, filled: int, size: int) -> int:
        """Read until there are `size` bytes, for a turn of a thread; how many there are then.

        After a turn that brings little, the client is a slow one.
        """
        before, until = self._client.read, time.monotonic() + TURN_SECONDS
        while filled < size and not (self.ended or self._failure) and time.monotonic() < until:
            expected = self._framing.expect(buffer, filled, len(buffer))
            try:
                received = self._client.receive_now(expected.places)
            except ClientGoneError as failure:
                # What came before it counts.
                self._failure = failure
                break
            if received is None:
                break
            filled = self._note(expected.unframe(received))
        self._few = self._client.read - before < _FEW
        return filled

    def _note(self, unframed: Unframed) -> int:
        self._failure = unframed.error
        self._behind = unframed.behind
        return unframed.end

    async def _receive(self, places: Sequence[memoryview], *, wait: bool) -> int | None:
        """Read once; how many bytes came. None when none come for now, unless they are to be waited for."""
        try:
            received = await self._client.receive(
                places,
                patience=None if wait else _PATIENCE,
                gather=_GATHER_SECONDS if self._few and self._taken is not None else 0,
            )
        except TimeoutError:
            if not wait:
                return None
            raise RegistryError(
                ErrorCode.SIZE_INVALID, message="the body did not arrive in time", http_status=408
            ) from None
        except TooSlowError:
            raise RegistryError(
                ErrorCode.SIZE_INVALID, message="the body arrives too slowly", http_status=408
            ) from None
        self._few = received < _FEW
        return received

    def _next_buffer(self) -> tuple[Buffer, int]:
        """A buffer that is free again, and how large a block in it is."""
        if self._turn == BLOCKS and self._taken is None:
            self._taken = self._memory.take()
            if self._taken > SMALL_BLOCK:
                # The last one of them is still in use.
                self._former, self._buffers = self._buffers, []
        elif self._turn == BLOCKS + 1:
            self._give_back(self._former)
        block = self._taken or SMALL_BLOCK
        if len(self._buffers) < BLOCKS:
            size = min(block, len(self._spilt) + self._framing.wanted(block))
            self._buffers.append(self._memory.block(size) if size == block else bytearray(size))
        buffer = self._buffers[self._turn % BLOCKS]
        self._turn += 1
        return buffer, min(block, len(buffer))

    def _give_back(self, buffers: list[Buffer]) -> None:
        for buffer in buffers:
            if isinstance(buffer, mmap.mmap):
                self._memory.keep(buffer)
        buffers.clear()
