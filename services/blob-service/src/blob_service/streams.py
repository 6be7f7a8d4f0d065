"""Byte streams on their way into storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

Block = bytes | memoryview
"""A piece of a stream. Whoever hands it out leaves it alone until two more pieces were asked for."""


async def read_ahead(source: AsyncIterator[Block]) -> AsyncGenerator[tuple[Block, bool], None]:
    """The chunks of `source`, the next of which is fetched while the caller works on one.

    With each goes whether it is known already to be the last: a source that has come to its end when it hands
    out a chunk, and need not wait to say so, is believed. At most two chunks are held. An error of the source
    is raised where the chunk would have been. Close the generator if it is not read to its end.
    """
    ahead = asyncio.ensure_future(_next(source))
    try:
        while (chunk := await ahead) is not None:
            ahead = asyncio.ensure_future(_next(source))
            # Time to say that it has ended.
            await asyncio.sleep(0)
            yield chunk, ahead.done() and ahead.exception() is None and ahead.result() is None
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def _next(source: AsyncIterator[Block]) -> Block | None:
    return await anext(source, None)
