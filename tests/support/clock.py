"""A clock for what is to be tested without waiting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Stands still until it is set; `now` is seconds, since whenever the test says."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now
