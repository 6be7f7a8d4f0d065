"""The order of what a consumer hands out, whoever else it has handed something to.

A consumer gives what was not acknowledged to whoever asks next, but only after a while, and new messages in
the meantime. Passed on at once, a new event would overtake one that another notifier, or this one in a
former life, had when it ended. So nothing is passed on while messages are out elsewhere; they come back,
and all goes on in order.

Whether messages are out elsewhere is known from two things: the consumer numbers its deliveries, so a number
that is missing went to somebody else; and it counts those that are not acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delivered(Generic[T]):
    """A message of the stream, as it was delivered."""

    stream_sequence: int
    consumer_sequence: int
    content: T


class Sequencer(Generic[T]):
    """Puts one consumer's deliveries in order. `next_delivery` and `unacknowledged` are its own now."""

    def __init__(self, next_delivery: int, unacknowledged: int) -> None:
        self._next = next_delivery
        self._held: dict[int, Delivered[T]] = {}
        self._buffer: dict[int, Delivered[T]] = {}
        self.waiting = unacknowledged > 0
        """Whether messages are out elsewhere, as far as is known; `unacknowledged` settles it."""

    @property
    def held(self) -> tuple[Delivered[T], ...]:
        """What was delivered here and is not acknowledged, in the order of the stream."""
        return tuple(self._held[sequence] for sequence in sorted(self._held))

    def delivered(self, message: Delivered[T]) -> list[Delivered[T]]:
        """Take a delivery; what may be passed on now. One that is held already is only remembered anew."""
        if message.consumer_sequence != self._next:
            self.waiting = True
        self._next = message.consumer_sequence + 1
        known = message.stream_sequence in self._held
        self._held[message.stream_sequence] = message
        if message.stream_sequence in self._buffer or (self.waiting and not known):
            self._buffer[message.stream_sequence] = message
            return []
        return [] if known else [message]

    def acknowledged(self, stream_sequence: int) -> None:
        """A message is done."""
        self._held.pop(stream_sequence, None)
        self._buffer.pop(stream_sequence, None)

    def latest(self, stream_sequence: int) -> Delivered[T] | None:
        """A held message as it was delivered last, which is the one to acknowledge."""
        return self._held.get(stream_sequence)

    def snapshot(self) -> frozenset[int]:
        """What is held. To be taken before the consumer is asked what it counts."""
        return frozenset(self._held)

    def unacknowledged(self, count: int, before: frozenset[int]) -> list[Delivered[T]]:
        """Take the consumer's count of unacknowledged messages; what may be passed on now, in order.

        Of `before`, what is still held was out when the consumer counted. Only if that is all that was,
        nothing is out elsewhere.
        """
        if not self.waiting or count > len(before & self._held.keys()):
            return []
        self.waiting = False
        ready = [self._buffer[sequence] for sequence in sorted(self._buffer)]
        self._buffer.clear()
        return ready
