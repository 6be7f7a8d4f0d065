"""Byte streams on their way into storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

Block = bytes | memoryview
"""A piece of a stream. Whoever hands it out leaves it alone until two more pieces were asked for."""


async def read_ahead(source: AsyncIterator[Block]) -> AsyncGenerator[Block, None]:
    """The chunks of `source`, the next of which is fetched while the caller works on one.

    At most two chunks are held. An error of the source is raised where the chunk would have been. Close the
    generator if it is not read to its end.
    """
    ahead = asyncio.ensure_future(_next(source))
    try:
        while (chunk := await ahead) is not None:
            ahead = asyncio.ensure_future(_next(source))
            yield chunk
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def _next(source: AsyncIterator[Block]) -> Block | None:
    return await anext(source, None)
