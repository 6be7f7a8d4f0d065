"""How slow a peer may be: bytes in a second, on average over a window of waiting for it.

A deadline for each piece is no limit: a byte a minute meets it for ever. What counts here is the time that
was spent waiting, so that nobody is blamed for what took long on this side. A peer that moves nothing at all
is the business of that deadline.
"""

from __future__ import annotations

from dataclasses import dataclass


class Pace:
    """One peer's pace. Ask `keeps_up` after each wait."""

    __slots__ = ("_moved", "_rate", "_waited", "_window")

    def __init__(self, rate: int, window: float) -> None:
        self._rate = rate
        self._window = window
        self._moved = 0
        self._waited = 0.0

    def keeps_up(self, waited: float, moved: int) -> bool:
        """Note that waiting for so many seconds brought so many bytes; False if that is too slow by now."""
        if not self._rate:
            return True
        self._waited += waited
        self._moved += moved
        if self._waited < self._window:
            return True
        enough = self._moved >= self._rate * self._waited
        self._waited, self._moved = 0.0, 0
        return enough


@dataclass(frozen=True, slots=True)
class MinimumRate:
    """`rate` bytes in a second over `window` seconds; a rate of 0 is no limit."""

    rate: int = 0
    window: float = 60.0

    def pace(self) -> Pace:
        """The pace of a peer from now on."""
        return Pace(self.rate, self.window)


ANY_RATE = MinimumRate()
"""No limit."""
