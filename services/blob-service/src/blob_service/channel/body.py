"""A request's body, read from a client's connection and unframed, as blocks for an upload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from blob_service.channel.client import Client, ClientGoneError
from blob_service.channel.framing import Framing
from moorage.errors import ErrorCode, RegistryError

# Bytes of a block: hashing and writing it takes far longer than waking the threads that do.
BLOCK = 1 << 20

# An upload works on one block and has the next one ready, while this one is filled.
_BUFFERS = 3

# With less room than this a block counts as full: reading so little is not worth a call.
_LEAST_ROOM = 16 * 1024


class Body:
    """The blocks of a body, an asynchronous iterator. Each is valid until two more have been asked for.

    `received` is what a gateway has read of it already. `on_end` is awaited once the body's last byte is in.
    Iteration raises ClientGoneError when the client leaves before that, and RegistryError when it stands
    still or its framing is broken: a part is never taken for the whole.
    """

    def __init__(
        self,
        client: Client,
        framing: Framing,
        received: bytes,
        *,
        on_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._client = client
        self._framing = framing
        self._received = memoryview(received)
        self._on_end = on_end
        # Made when they are needed: most bodies are small.
        self._buffers: list[bytearray] = []
        self._size = framing.wanted(BLOCK)
        self._turn = 0
        self._failure: Exception | None = None
        self._told = False
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

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> memoryview:
        """The next block, of at least one byte."""
        if self._failure is not None:
            raise self._failure
        buffer = self._next_buffer()
        filled = 0
        try:
            while not (self.ended or self._failure) and (not filled or len(buffer) - filled >= _LEAST_ROOM):
                filled = await self._fill(buffer, filled)
        except (RegistryError, ClientGoneError) as failure:
            # What came before it counts.
            self._failure = failure
        if self._failure is not None and not filled:
            raise self._failure
        if self.ended:
            await self.tell_end()
        if not filled:
            raise StopAsyncIteration
        self.moved += filled
        return memoryview(buffer)[:filled]

    async def _fill(self, buffer: bytearray, filled: int) -> int:
        """Read once, and unframe behind the `filled` bytes; how many bytes of the body there are then."""
        with memoryview(buffer) as view:
            if self._received:
                count = min(len(self._received), len(buffer) - filled)
                view[filled : filled + count] = self._received[:count]
                self._received = self._received[count:]
            else:
                room = filled + self._framing.wanted(len(buffer) - filled)
                try:
                    count = await self._client.receive(view[filled:room])
                except TimeoutError:
                    raise RegistryError(
                        ErrorCode.SIZE_INVALID, message="the body did not arrive in time", http_status=408
                    ) from None
                if count == 0:
                    raise ClientGoneError("the client closed its connection in mid-body")
        unframed = self._framing.unframe(buffer, filled, filled + count)
        self._failure = unframed.error
        if self.ended:
            self._behind = bytes(buffer[unframed.rest : filled + count])
        return unframed.end

    def _next_buffer(self) -> bytearray:
        if len(self._buffers) < _BUFFERS:
            self._buffers.append(bytearray(self._size))
            return self._buffers[-1]
        self._turn = (self._turn + 1) % _BUFFERS
        return self._buffers[self._turn - 1]
