"""The framing of a request's body: how long it is, and where in what comes in its bytes are.

A framing unframes in place: it moves the body's bytes together within the buffer that they were received in.
Source: RFC 9112, sections 6.2 (Content-Length) and 7.1 (chunked).
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from typing import Protocol

from moorage.errors import ErrorCode, RegistryError

Buffer = bytearray | mmap.mmap
"""What a body is received in."""

# Bytes of a chunk's size with its extensions, and of all trailers, at most.
_LINE = 4096
_TRAILERS = 16 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\r\n]*)?")
# What stands between two chunks, mostly: one match for two lines.
_BETWEEN = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n]*")


@dataclass(frozen=True, slots=True)
class Unframed:
    """What came of some bytes: the body's lie before `end`; those from `rest` on were not taken.

    `error` says what is wrong with them, if they are not of this framing.
    """

    end: int
    rest: int
    error: RegistryError | None = None


class Framing(Protocol):
    """How a body is framed."""

    @property
    def ended(self) -> bool:
        """Whether the body is complete."""
        ...

    def wanted(self, room: int) -> int:
        """How many bytes may be read at once, where there is room for `room` (one or more)."""
        ...

    def unframe(self, buffer: Buffer, start: int, end: int) -> Unframed:
        """Take the bytes from `start` to `end`, moving the body's to `start`."""
        ...


class Counted:
    """A body of `length` bytes."""

    def __init__(self, length: int) -> None:
        self._missing = length

    @property
    def ended(self) -> bool:
        """See `Framing.ended`."""
        return self._missing == 0

    def wanted(self, room: int) -> int:
        """See `Framing.wanted`: never more than the body."""
        return min(room, self._missing)

    def unframe(self, buffer: Buffer, start: int, end: int) -> Unframed:
        """See `Framing.unframe`."""
        taken = min(end - start, self._missing)
        self._missing -= taken
        return Unframed(start + taken, start + taken)


class Chunked:
    """A body in chunks, each with its length before it."""

    def __init__(self) -> None:
        self._missing = 0
        self._line = bytearray()
        self._trailer_bytes = 0
        # What the next bytes are.
        self._take = self._size
        self._ended = False

    @property
    def ended(self) -> bool:
        """See `Framing.ended`."""
        return self._ended

    def wanted(self, room: int) -> int:
        """See `Framing.wanted`."""
        return room

    def unframe(self, buffer: Buffer, start: int, end: int) -> Unframed:
        """See `Framing.unframe`."""
        body = position = start
        with memoryview(buffer) as view:
            while position < end and not self._ended:
                if not self._missing:
                    try:
                        position = self._take(buffer, position, end)
                    except MalformedBodyError as error:
                        return Unframed(body, position, error)
                    continue
                taken = min(self._missing, end - position)
                if body != position:
                    view[body : body + taken] = view[position : position + taken]
                body += taken
                position += taken
                self._missing -= taken
        return Unframed(body, position)

    def _size(self, buffer: Buffer, position: int, end: int) -> int:
        line, position = self._next_line(buffer, position, end, _LINE)
        if line is None:
            return position
        match = _SIZE.fullmatch(line)
        if match is None:
            raise MalformedBodyError("a chunk has no valid size")
        self._missing = int(match[1], 16)
        self._take = self._chunk_end if self._missing else self._trailer
        return position

    def _chunk_end(self, buffer: Buffer, position: int, end: int) -> int:
        between = None if self._line else _BETWEEN.match(buffer, position, end)
        if between is not None and (size := int(between[1], 16)):
            self._missing = size
            return between.end()
        line, position = self._next_line(buffer, position, end, 0)
        if line:
            raise MalformedBodyError("a chunk is longer than its size")
        if line is not None:
            self._take = self._size
        return position

    def _trailer(self, buffer: Buffer, position: int, end: int) -> int:
        line, position = self._next_line(buffer, position, end, max(0, _TRAILERS - self._trailer_bytes))
        if line is None:
            return position
        self._trailer_bytes += len(line) + 2
        if not line:
            self._ended = True
        elif _TRAILER.fullmatch(line) is None:
            raise MalformedBodyError("a trailer is not a field")
        return position

    def _next_line(self, buffer: Buffer, position: int, end: int, limit: int) -> tuple[bytes | None, int]:
        """The line that begins in `_line` or at `position`, without its end, and where the next one begins.

        None as long as its end has not come in; what there is of it is kept in `_line`.
        """
        found = buffer.find(b"\n", position, end)
        stop = end if found < 0 else found + 1
        if len(self._line) + stop - position > limit + len(b"\r\n"):
            raise MalformedBodyError("a line of the chunked framing is too long")
        line = bytes(self._line) + buffer[position:stop]
        if found < 0:
            self._line[:] = line
            return None, stop
        self._line.clear()
        if not line.endswith(b"\r\n"):
            raise MalformedBodyError("a line of the chunked framing does not end in CRLF")
        return line[: -len(b"\r\n")], stop


class MalformedBodyError(RegistryError):
    """The body is not framed as its head says."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.UNSUPPORTED, message=f"malformed body: {reason}", http_status=400)
