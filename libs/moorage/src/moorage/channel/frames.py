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
    """Bytes as they come in, cut into frames whose messages are at most `max_message` bytes."""

    def __init__(self, *, max_message: int = MAX_MESSAGE) -> None:
        self._buffer = bytearray()
        self._max_message = max_message

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> None:
        """Add what came in."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame; None as long as there is none. Raises FrameError."""
        lengths = self._lengths()
        if lengths is None:
            return None
        message, tail = lengths
        start = _LENGTHS.size
        end = start + message + tail
        if len(self._buffer) < end:
            return None
        frame = Frame(
            bytes(self._buffer[start : start + message]), bytes(self._buffer[start + message : end])
        )
        del self._buffer[:end]
        return frame

    def next_message(self) -> bytes | None:
        """The message of the next frame, before its tail has come; the frame stays. Raises FrameError.

        None as long as it is not there. Who receives can so refuse a frame before it takes in the tail.
        """
        lengths = self._lengths()
        start = _LENGTHS.size
        if lengths is None or len(self._buffer) < start + lengths[0]:
            return None
        return bytes(self._buffer[start : start + lengths[0]])

    def missing(self) -> int:
        """Bytes (one or more) that the next frame lacks: who reads no more takes nothing of what follows."""
        lengths = self._lengths()
        if lengths is None:
            return _LENGTHS.size - len(self._buffer)
        return max(1, _LENGTHS.size + sum(lengths) - len(self._buffer))

    def _lengths(self) -> tuple[int, int] | None:
        if len(self._buffer) < _LENGTHS.size:
            return None
        message, tail = _LENGTHS.unpack_from(self._buffer)
        _check(message, tail, self._max_message)
        return message, tail


def _check(message: int, tail: int, max_message: int = MAX_MESSAGE) -> None:
    if message > max_message or tail > MAX_TAIL:
        raise FrameError(f"a frame of {message} and {tail} bytes is too long")
