"""A request's body that is sent piece by piece from memory, and may be sent again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncIterator, Callable

# What is handed to the transport at once. Larger pieces would stop the loop for longer.
_PIECE = 256 * 1024

# Less than this is hashed at once: a thread would take longer to be asked.
_HASHED_AT_ONCE = 64 * 1024

Content = bytes | bytearray


class Body:
    """Looks enough like a file to botocore, and like an asynchronous iterable to aiohttp.

    The content must not change until the request is over. `progressed` is called whenever the endpoint has
    taken a piece.
    """

    def __init__(self, content: Content, progressed: Callable[[], None]) -> None:
        self._content = content
        self._progressed = progressed

    def read(self, size: int = -1) -> bytes:
        """Botocore asks for the method, and does not call it: the content goes out by iteration."""
        raise io.UnsupportedOperation("read")

    def seek(self, offset: int, whence: int = 0) -> int:
        """Every iteration begins at the beginning."""
        return 0

    def __len__(self) -> int:
        return len(self._content)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        with memoryview(self._content) as view:
            for start in range(0, len(view), _PIECE):
                yield view[start : start + _PIECE]
                self._progressed()


async def content_md5(content: Content) -> str:
    """The value of Content-MD5, by which the endpoint tells content that was damaged on its way."""
    if len(content) <= _HASHED_AT_ONCE:
        return _md5(content)
    return await asyncio.to_thread(_md5, content)


def _md5(content: Content) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
