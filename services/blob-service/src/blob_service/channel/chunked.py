"""A body in chunks, each with its length before it.

Clients mostly send chunks of one size. Once that is so, what stands between two chunks is received apart from
them: a body then costs a few steps for each read, not for each chunk, and its bytes are moved by nobody.
Source: RFC 9112, section 7.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from blob_service.channel.framing import Anything, Buffer, Expected, MalformedBodyError, Unframed

# Bytes of a chunk's size with its extensions, and of all trailers, at most.
_LINE = 4096
_TRAILERS = 16 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\r\n]*)?")
# What stands between two chunks, mostly: one match for two lines.
_BETWEEN = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n]*")

# So many chunks in a row with the same line before them, and another one like them is expected.
_ALIKE = 8

# Where chunks have fewer bytes, or what stands before them has more, each is looked for by itself.
_LEAST_EXPECTED = 2048
_LONGEST_HEAD = 32

# Chunks that are expected at once: at first, for a slow client sends one at a time and places cost something,
# and at most: with their heads, no more than recvmsg(2) takes (UIO_MAXIOV, 1024).
_FEWEST_EXPECTED = 2
_MOST_EXPECTED = 500


class Chunked:
    """A body in chunks, each with its length before it."""

    def __init__(self) -> None:
        self._missing = 0
        self._line = bytearray()
        self._trailer_bytes = 0
        # What stood before the last chunk, how long that was, and how many in a row had the same before them.
        self._head = b""
        self._length = 0
        self._alike = 0
        self._heads: Heads | None = None
        # How many chunks are expected at once.
        self._number = _FEWEST_EXPECTED
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

    def expect(self, buffer: Buffer, start: int, end: int) -> Expected:
        """See `Framing.expect`: chunks like the last ones."""
        more = end - start - self._missing - len(self._head)
        if more <= 0 or not self._is_regular() or self._is_in_a_head():
            return Anything(self, buffer, start, end)
        if self._heads is None:
            self._heads = Heads(self._head, self._length)
        number = min(self._number, (end - start - self._missing) // self._heads.period)
        return EqualChunks(self, self._heads, self._missing, number, buffer, start, end)

    def received(self, chunks: int) -> None:
        """So many chunks came at once: twice as many may come next."""
        self._number = min(max(2 * chunks, self._number // 2, _FEWEST_EXPECTED), _MOST_EXPECTED)

    def skip(self, missing: int) -> None:
        """All bytes of the body but `missing` of a chunk were taken."""
        self._missing = missing

    def unframe(self, buffer: Buffer, start: int, end: int) -> Unframed:
        """See `Framing.unframe`."""
        body = position = start
        with memoryview(buffer) as view:
            while position < end and not self._ended:
                if not self._missing:
                    try:
                        position = self._take(buffer, position, end)
                    except MalformedBodyError as error:
                        return Unframed(body, error=error)
                    continue
                taken = min(self._missing, end - position)
                if body != position:
                    view[body : body + taken] = view[position : position + taken]
                body += taken
                position += taken
                self._missing -= taken
        return Unframed(body, bytes(buffer[position:end]) if self._ended else b"")

    def _is_regular(self) -> bool:
        """Whether one chunk is like the other, and the next one may well be, too."""
        return self._alike >= _ALIKE and self._length >= _LEAST_EXPECTED and len(self._head) <= _LONGEST_HEAD

    def _is_in_a_head(self) -> bool:
        """Whether a part of what stands between two chunks was taken."""
        return not self._missing and (bool(self._line) or self._take != self._chunk_end)

    def _begin(self, size: int, head: bytes) -> None:
        """A chunk of `size` bytes begins, with `head` before it."""
        self._missing = self._length = size
        if head == self._head:
            self._alike += 1
        else:
            self._alike, self._head, self._heads = 1, head, None

    def _size(self, buffer: Buffer, position: int, end: int) -> int:
        line, position = self._next_line(buffer, position, end, _LINE)
        if line is None:
            return position
        match = _SIZE.fullmatch(line)
        if match is None:
            raise MalformedBodyError("a chunk has no valid size")
        self._begin(int(match[1], 16), b"\r\n%b\r\n" % line)
        self._take = self._chunk_end if self._missing else self._trailer
        return position

    def _chunk_end(self, buffer: Buffer, position: int, end: int) -> int:
        between = None if self._line else _BETWEEN.match(buffer, position, end)
        if between is not None and (size := int(between[1], 16)):
            self._begin(size, between[0])
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


class EqualChunks:
    """Places for the rest of a chunk (`missing` bytes), and for `number` chunks of one size with their heads.

    What is left then between `start` and `end` takes one more, or a part of it.
    """

    def __init__(
        self,
        framing: Chunked,
        heads: Heads,
        missing: int,
        number: int,
        buffer: Buffer,
        start: int,
        end: int,
    ) -> None:
        self._framing = framing
        self._heads = heads
        self._missing = missing
        self._buffer = buffer
        self._start = start
        view, size = memoryview(buffer), heads.size
        first = start + missing
        last = first + number * size
        left = max(0, min(end - last - heads.length * (number + 1), size))
        places: list[memoryview] = [view[:0]] * (2 * number + 3)
        places[0] = view[start:first]
        places[1::2] = heads.places[: number + 1]
        places[2:-1:2] = [view[at : at + size] for at in range(first, last, size)]
        places[-1] = view[last : last + left]
        # The first one may be empty; all together are no longer than the room.
        self.places: Sequence[memoryview] = places if left else places[:-2]

    def unframe(self, count: int) -> Unframed:
        """See `Expected.unframe`."""
        if count <= self._missing:
            self._framing.received(0)
            self._framing.skip(self._missing - count)
            return Unframed(self._start + count)
        length, size = self._heads.length, self._heads.size
        whole, part = divmod(count - self._missing, self._heads.period)
        came = whole + (part >= length)
        self._framing.received(came)
        good = self._heads.as_expected(came)
        body = self._start + self._missing + good * size
        if good > whole:
            absent = size - (part - length)
            self._framing.skip(absent)
            return Unframed(body - absent)
        # From here on it is not, or not yet, as expected.
        left = count - self._missing - good * self._heads.period
        self._buffer[body : body + left] = b"".join(self.places[1 + 2 * good : 3 + 2 * came])[:left]
        self._framing.skip(0)
        return self._framing.unframe(self._buffer, body, body + left)


class Heads:
    """Room for what stands before chunks of `size` bytes, which is expected to be `head` each time."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head = head
        self._room = bytearray(len(head) * (_MOST_EXPECTED + 1))
        self.size = size
        self.length = len(head)
        # From one chunk's head to the next one's.
        self.period = self.length + size
        view = memoryview(self._room)
        self.places = [view[at : at + self.length] for at in range(0, len(view), self.length)]

    def as_expected(self, number: int) -> int:
        """How many of the first `number` are as expected, up to the first one that is not."""
        if self._room.startswith(self._head * number):
            return number
        return next(at for at in range(number) if self.places[at] != self._head)
