"""Byte streams on their way into storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

Block = bytes | memoryview
"""A piece of a stream. Whoever hands it out leaves it alone until two more pieces were asked for."""


class ReadAhead:
    """The chunks of `source`, an asynchronous iterator: the next is fetched while the caller works on one.

    At most two chunks are held. An error of the source is raised where the chunk would have been. Close it if
    it is not read to its end.
    """

    def __init__(self, source: AsyncIterator[Block]) -> None:
        self._source = source
        # Begun when the first chunk is asked for.
        self._ahead: asyncio.Task[Block | None] | None = None

    def __aiter__(self) -> ReadAhead:
        return self

    async def __anext__(self) -> Block:
        chunk = await (self._ahead or self._fetch())
        if chunk is None:
            raise StopAsyncIteration
        self._ahead = self._fetch()
        return chunk

    async def has_ended(self) -> bool:
        """Whether the source is known to have no more: it was at its end, and need not wait to say so."""
        await asyncio.sleep(0)
        ahead = self._ahead
        return ahead is not None and ahead.done() and ahead.exception() is None and ahead.result() is None

    async def aclose(self) -> None:
        """Fetch no more."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)

    def _fetch(self) -> asyncio.Task[Block | None]:
        return asyncio.ensure_future(_next(self._source))


async def _next(source: AsyncIterator[Block]) -> Block | None:
    return await anext(source, None)
