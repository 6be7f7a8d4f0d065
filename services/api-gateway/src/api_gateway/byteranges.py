"""Byte ranges of a blob: which bytes a Range header asks for, and how several of them are framed.

Source: RFC 9110, section 14; Go's http.ServeContent, whose answers distribution gives. Two differences, both
where the RFC is plain: a unit other than bytes is ignored, and a suffix of zero bytes cannot be satisfied.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_POSITION = re.compile(r"[0-9]{1,19}", re.ASCII)

# More ranges than this in one request are not worth framing: the whole blob is served.
_MOST_RANGES = 64


class UnsatisfiableRangeError(ValueError):
    """The header is malformed, or none of its ranges overlaps the content."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `start`, both in bytes, within the content."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """The Content-Range of this part of content of `size` bytes."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def parse_ranges(header: str, size: int) -> list[ByteRange]:
    """The ranges that a Range header asks of content of `size` bytes; empty when the whole is to be served.

    The whole is served for an unknown unit, for empty content, for ranges that add up to more than the
    content (they overlap, or the client is up to no good), and for more ranges than anyone needs. Raises
    UnsatisfiableRangeError.
    """
    unit, equals, specifiers = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return []
    parts = [part for piece in specifiers.split(",") if (part := piece.strip())]
    if len(parts) > _MOST_RANGES:
        return []
    ranges = [found for part in parts if (found := _parse_range(part, size)) is not None]
    if parts and not ranges and size > 0:
        raise UnsatisfiableRangeError("no range overlaps the content")
    if sum(found.length for found in ranges) > size:
        return []
    return ranges


def _parse_range(text: str, size: int) -> ByteRange | None:
    """One range, cut to the content; None when it lies outside. Raises UnsatisfiableRangeError."""
    first, dash, last = (piece.strip() for piece in text.partition("-"))
    if not dash:
        raise UnsatisfiableRangeError("malformed range")
    if not first:
        length = min(_position(last), size)
        return ByteRange(size - length, length) if length else None
    start = _position(first)
    end = _position(last) if last else size - 1
    if last and end < start:
        raise UnsatisfiableRangeError("malformed range")
    if start >= size:
        return None
    return ByteRange(start, min(end, size - 1) - start + 1)


def _position(text: str) -> int:
    if _POSITION.fullmatch(text) is None:
        raise UnsatisfiableRangeError("malformed range")
    return int(text)


class Multipart:
    """The framing of several ranges in one multipart/byteranges body."""

    def __init__(self, ranges: list[ByteRange], *, size: int, content_type: str) -> None:
        self.ranges = ranges
        boundary = secrets.token_hex(30)
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        self._heads = [
            (
                ("" if index == 0 else "\r\n") + f"--{boundary}\r\n"
                f"Content-Range: {part.content_range(size)}\r\n"
                f"Content-Type: {content_type}\r\n\r\n"
            ).encode()
            for index, part in enumerate(ranges)
        ]
        self.tail = f"\r\n--{boundary}--\r\n".encode()

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return sum(map(len, self._heads)) + sum(part.length for part in self.ranges) + len(self.tail)

    def parts(self) -> list[tuple[bytes, ByteRange]]:
        """Each part's head, and the bytes that follow it."""
        return list(zip(self._heads, self.ranges, strict=True))
