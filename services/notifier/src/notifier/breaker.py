"""When an endpoint that fails is tried again.

Source: distribution's `notifications` package: after `threshold` failures in a row, a pause of `backoff`,
then one attempt at a time. Here pauses grow while it goes on failing, and all are spread a little, so that
endpoints behind one proxy do not come back to it in step.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

# A pause is between these parts of itself.
_SPREAD = (0.8, 1.2)

# 2 to this power is more than any pause may grow by.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission for one attempt. A `probe` is the only one under way."""

    probe: bool


class Breaker:
    """One endpoint's. It is open from `threshold` failures in a row until a success.

    Closed, failures are a `threshold`th part of `backoff` apart; open, `backoff` at first and twice as long
    each time, up to `longest`. All are seconds.
    """

    def __init__(self, *, threshold: int, backoff: float, longest: float) -> None:
        self._threshold = threshold
        self._backoff = backoff
        self._longest = longest
        self._not_before = 0.0
        self._openings = 0
        self._probing = False
        self.failures = 0
        """Failures in a row."""

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is given up for the moment."""
        return self._openings > 0

    @property
    def pause(self) -> float | None:
        """Seconds until an attempt may begin; None while a probe decides."""
        if self._probing:
            return None
        return max(0.0, self._not_before - time.monotonic())

    def admit(self) -> Permit | None:
        """Permission for an attempt now, if there is; report it with `succeeded` or `failed`."""
        if self.pause != 0.0:
            return None
        self._probing = self.is_open
        return Permit(self._probing)

    def succeeded(self, permit: Permit) -> None:
        """An attempt went well."""
        self._end(permit)
        self.failures = self._openings = 0
        self._not_before = 0.0

    def failed(self, permit: Permit) -> None:
        """An attempt did not."""
        self._end(permit)
        self.failures += 1
        if self.is_open and not permit.probe:
            return  # it began before the endpoint was given up, and says nothing new
        if self.failures < self._threshold:
            pause = self._backoff / self._threshold
        else:
            pause = min(self._longest, self._backoff * 2 ** min(self._openings, _MOST_DOUBLINGS))
            self._openings += 1
        spread = random.uniform(*_SPREAD)  # noqa: S311  nothing secret
        self._not_before = time.monotonic() + pause * spread

    def abandoned(self, permit: Permit) -> None:
        """An attempt did not take place."""
        self._end(permit)

    def _end(self, permit: Permit) -> None:
        if permit.probe:
            self._probing = False
