"""Moving bytes from one socket to another in the kernel (splice(2)), through a pipe."""

from __future__ import annotations

import asyncio
import fcntl
import os
from types import TracebackType
from typing import Self

from moorage.channel.waiting import readable, writable

# Bytes that a pipe is asked to hold; the kernel may allow fewer.
_PIPE = 1 << 20

# Calls in a row after which other tasks get their turn.
_TURNS = 8

_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class SpliceError(Exception):
    """Bytes cannot be moved on; `standstill` if none were for too long, and no error of a socket says why."""

    def __init__(self, reason: str, *, standstill: bool = False) -> None:
        super().__init__(reason)
        self.standstill = standstill


class SourceError(SpliceError):
    """It is the source's fault."""


class TargetError(SpliceError):
    """It is the target's fault."""


class Pipe:
    """A pipe between two sockets, a context manager.

    `taken` counts bytes that went into it, `moved` those that came out, and `buffered` are between.
    """

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._size = fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, _PIPE)
        except OSError:
            self._size = fcntl.fcntl(self._writing, fcntl.F_GETPIPE_SZ)
        self.buffered = 0
        self.taken = 0
        self.moved = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._reading)
        os.close(self._writing)

    async def move(self, source: int, target: int, *, count: int | None, stall: float) -> bool:
        """Move `count` bytes, or (None) all there are until cancelled; false if the source ended before.

        Neither socket may block. Raises SourceError or TargetError
        when a socket fails, or nothing could be moved for `stall` seconds.
        """
        missing, turns, ended = count, 0, False
        while not (ended or missing == 0) or self.buffered:
            read = 0
            if not ended and missing != 0 and self.buffered < self._size:
                read = self._fill(source, missing)
                if read == 0:
                    ended = True
                    continue
                if missing is not None and read > 0:
                    missing -= read
            written = self._drain(target)
            if read > 0 or written > 0:
                turns += 1
                if turns % _TURNS == 0:
                    await asyncio.sleep(0)
                continue
            # A pipe takes fewer bytes than its size when they come in many pieces: what is in it goes first.
            stuck = TargetError if self.buffered else SourceError
            try:
                async with asyncio.timeout(stall):
                    await (writable(target) if self.buffered else readable(source))
            except TimeoutError:
                raise stuck(f"nothing moved for {stall:g} s", standstill=True) from None
        return not ended or missing == 0

    def rest(self) -> bytes:
        """What is left in the pipe."""
        if not self.buffered:
            return b""
        rest = os.read(self._reading, self.buffered)
        self.buffered -= len(rest)
        return rest

    def _fill(self, source: int, missing: int | None) -> int:
        """Bytes that went into the pipe: 0 at the source's end, -1 if it has none or the pipe takes none."""
        room = self._size - self.buffered
        try:
            read = os.splice(
                source, self._writing, room if missing is None else min(room, missing), flags=_FLAGS
            )
        except BlockingIOError:
            return -1
        except OSError as error:
            raise SourceError(str(error)) from error
        self.buffered += read
        self.taken += read
        return read

    def _drain(self, target: int) -> int:
        if not self.buffered:
            return 0
        try:
            written = os.splice(self._reading, target, self.buffered, flags=_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise TargetError(str(error)) from error
        self.buffered -= written
        self.moved += written
        return written
