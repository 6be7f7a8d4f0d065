"""Frames: a message and a tail of bytes, each with its length before it.

Source: blob.proto, "The data channel".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from google.protobuf.message import Message

_LENGTHS = struct.Struct("!II")

# The most bytes of a message: the heads of 64 ranges, with room to spare.
MAX_MESSAGE = 256 * 1024

# The most bytes of a tail: what a server reads in one go, several times over.
MAX_TAIL = 4 * 1024 * 1024


class FrameError(ValueError):
    """The bytes are not a frame of this protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A serialized message and what came after it."""

    message: bytes
    tail: bytes


def pack_frame(message: Message, tail: bytes | bytearray | memoryview = b"") -> bytes:
    """A frame as it goes over the wire. Raises FrameError when either part is too long."""
    serialized = message.SerializeToString()
    _check(len(serialized), len(tail))
    return b"".join((_LENGTHS.pack(len(serialized), len(tail)), serialized, tail))


class FrameBuffer:
    """Bytes as they come in, cut into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> None:
        """Add what came in."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame; None as long as there is none. Raises FrameError."""
        if len(self._buffer) < _LENGTHS.size:
            return None
        message, tail = _LENGTHS.unpack_from(self._buffer)
        _check(message, tail)
        start = _LENGTHS.size
        end = start + message + tail
        if len(self._buffer) < end:
            return None
        frame = Frame(
            bytes(self._buffer[start : start + message]), bytes(self._buffer[start + message : end])
        )
        del self._buffer[:end]
        return frame

    def missing(self) -> int:
        """Bytes (one or more) that the next frame lacks: who reads no more takes nothing of what follows."""
        if len(self._buffer) < _LENGTHS.size:
            return _LENGTHS.size - len(self._buffer)
        message, tail = _LENGTHS.unpack_from(self._buffer)
        _check(message, tail)
        return max(1, _LENGTHS.size + int(message) + int(tail) - len(self._buffer))


def _check(message: int, tail: int) -> None:
    if message > MAX_MESSAGE or tail > MAX_TAIL:
        raise FrameError(f"a frame of {message} and {tail} bytes is too long")
