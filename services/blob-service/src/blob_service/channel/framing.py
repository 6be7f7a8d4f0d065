"""The framing of a request's body: how long it is, and where in what comes in its bytes are.

A framing unframes in place: it moves the body's bytes together within the buffer that they were received in.
Where it can tell beforehand, it has them received where they belong.
Source: RFC 9112, section 6.2 (Content-Length). Chunks are in `chunked`.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from moorage.errors import ErrorCode, RegistryError

Buffer = bytearray | mmap.mmap
"""What a body is received in."""


@dataclass(frozen=True, slots=True)
class Unframed:
    """What came of some bytes: the body's lie before `end`.

    `behind` are those that follow the body, once it has ended. `error` says what is wrong with what follows
    the body's bytes, if it is not of this framing.
    """

    end: int
    behind: bytes = b""
    error: RegistryError | None = None


class Expected(Protocol):
    """Where what comes next is received."""

    @property
    def places(self) -> Sequence[memoryview]:
        """What to receive into, one after the other."""
        ...

    def unframe(self, count: int) -> Unframed:
        """Take the `count` bytes that came. The body's are moved together where they are not so yet."""
        ...


class Framing(Protocol):
    """How a body is framed."""

    @property
    def ended(self) -> bool:
        """Whether the body is complete."""
        ...

    def wanted(self, room: int) -> int:
        """How many bytes may be read at once, where there is room for `room` (one or more)."""
        ...

    def expect(self, buffer: Buffer, start: int, end: int) -> Expected:
        """Where between `start` and `end` to receive what comes next: where it belongs, if that is known."""
        ...

    def unframe(self, buffer: Buffer, start: int, end: int) -> Unframed:
        """Take the bytes from `start` to `end`, moving the body's to `start`."""
        ...


class Anything:
    """Bytes that a framing looks through once they are there."""

    def __init__(self, framing: Framing, buffer: Buffer, start: int, end: int) -> None:
        self._framing = framing
        self._buffer = buffer
        self._start = start
        self.places = (memoryview(buffer)[start : start + framing.wanted(end - start)],)

    def unframe(self, count: int) -> Unframed:
        """See `Expected.unframe`."""
        return self._framing.unframe(self._buffer, self._start, self._start + count)


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

    def expect(self, buffer: Buffer, start: int, end: int) -> Expected:
        """See `Framing.expect`: nothing stands between its bytes."""
        return Anything(self, buffer, start, end)

    def unframe(self, buffer: Buffer, start: int, end: int) -> Unframed:
        """See `Framing.unframe`."""
        taken = min(end - start, self._missing)
        self._missing -= taken
        return Unframed(start + taken, b"" if self._missing else bytes(buffer[start + taken : end]))


class MalformedBodyError(RegistryError):
    """The body is not framed as its head says."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.UNSUPPORTED, message=f"malformed body: {reason}", http_status=400)
