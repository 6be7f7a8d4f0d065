"""The access log: Apache's combined format, one line for each request, on standard output.

Lines are written by a thread, many at once, so a slow reader of the log never stops the event loop. What
cannot be kept in the meantime is dropped, and how much is said in the log.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TextIO
from urllib.parse import quote

import structlog
from starlette.types import Scope

from api_gateway.headers import Headers
from api_gateway.logcontext import logged_target
from api_gateway.record import RequestRecord

log = structlog.get_logger("api_gateway.accesslog")

# Lines that wait to be written, at most.
_MOST_LINES = 20_000

# Lines are collected for this long (seconds) before they are written.
_COLLECT = 0.02

_PLAIN = {code: chr(code) for code in range(0x20, 0x7F)} | {ord('"'): '\\"', ord("\\"): "\\\\"}
_ESCAPES = {code: _PLAIN.get(code, f"\\x{code:02x}") for code in range(0x100)}


def escaped(value: str) -> str:
    """A value as it stands between quotes: never a quote, a line break or a byte outside ASCII of its own."""
    return value.translate(_ESCAPES)


def combined_line(record: RequestRecord, scope: Scope, at: float) -> str:
    """The line of one request, without its line break; `at` is seconds since 1970.

    Source: Apache HTTP Server, `LogFormat combined`.
    """
    headers = Headers(scope["headers"])
    when = _written_time(int(at))
    request = f"{scope['method']} {escaped(logged_target(scope))} HTTP/{scope['http_version']}"
    return (
        f"{record.client or '-'} - {quote(record.user, safe='') or '-'} [{when}]"
        f' "{request}" {record.status} {record.written}'
        f' "{escaped(headers.get(b"referer") or "")}" "{escaped(headers.get(b"user-agent") or "")}"'
    )


@lru_cache(1)
def _written_time(at: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(at))


class AccessLog:
    """Writes lines to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._dropped = 0
        self._writing: asyncio.Task[None] | None = None

    def add(self, line: str) -> None:
        """Take one line; it is written soon."""
        if len(self._lines) >= _MOST_LINES:
            self._dropped += 1
            return
        self._lines.append(line + "\n")
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        """Write what waits."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        try:
            while self._lines:
                await asyncio.sleep(_COLLECT)
                lines, self._lines = self._lines, []
                await asyncio.to_thread(self._put, lines)
                if self._dropped:
                    log.warning("access log lines dropped: its reader is too slow", lines=self._dropped)
                    self._dropped = 0
        except OSError as error:
            log.warning("access log cannot be written", error=str(error))
        finally:
            self._writing = None

    def _put(self, lines: list[str]) -> None:
        for piece in _pieces(lines):
            self._stream.write(piece)
            self._stream.flush()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines in as few pieces as are written whole: several processes may write to one pipe.

    Source: pipe(7), PIPE_BUF. Lines are ASCII.
    """
    piece: list[str] = []
    room = select.PIPE_BUF
    for line in lines:
        if len(line) > room and piece:
            yield "".join(piece)
            piece, room = [], select.PIPE_BUF
        piece.append(line)
        room -= len(line)
    yield "".join(piece)
