"""Wrong passwords: how many a client may try, before it has to wait.

A token bucket for each client address and account, and a wider one for each address, so that nobody tries
one password on every account. Buckets are this process's, and bounded: those that were used least lately go.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from api_gateway.limitmemory import client_of

MOST_BUCKETS = 10_000

# An address may try so many times what one of its accounts may.
_PER_ADDRESS = 5


class TooManyFailuresError(Exception):
    """There were too many wrong passwords."""

    def __init__(self, seconds: int) -> None:
        """`seconds` is after how many the next attempt may be made."""
        super().__init__(seconds)
        self.seconds = seconds


class Buckets:
    """`burst` attempts at once, and one more each `interval` seconds, for each key."""

    def __init__(self, burst: int, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._interval = interval
        self._clock = clock
        # What is left in each, and when that was so. One that is full again need not be kept.
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until there is one to take; 0 for now."""
        return max(0.0, (1 - self._level(key)) * self._interval)

    def change(self, key: str, by: int) -> None:
        """Take one (-1), or put one back (1)."""
        level = min(self._level(key) + by, float(self._burst))
        self._levels.pop(key, None)
        if level < self._burst:
            self._levels[key] = (level, self._clock())
            if len(self._levels) > MOST_BUCKETS:
                self._levels.popitem(last=False)

    def _level(self, key: str) -> float:
        level, since = self._levels.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), level + (self._clock() - since) / self._interval)

    def __len__(self) -> int:
        return len(self._levels)


class Attempts:
    """Attempts to log in. One is paid for before it is made, and given back when it succeeds."""

    def __init__(self, burst: int, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = Buckets(burst, interval, clock)
        self._addresses = Buckets(burst * _PER_ADDRESS, interval / _PER_ADDRESS, clock)

    def begin(self, address: str, account: str) -> None:
        """Pay for an attempt. Raises TooManyFailuresError when the client has to wait first."""
        client, key = _keys(address, account)
        wait = max(self._accounts.wait(key), self._addresses.wait(client))
        if wait > 0:
            raise TooManyFailuresError(math.ceil(wait))
        self._accounts.change(key, -1)
        self._addresses.change(client, -1)

    def give_back(self, address: str, account: str) -> None:
        """Give back what an attempt has paid that was good, or was not made."""
        client, key = _keys(address, account)
        self._accounts.change(key, 1)
        self._addresses.change(client, 1)


def _keys(address: str, account: str) -> tuple[str, str]:
    # A client on a unix socket is like any other there.
    client = client_of(address)
    return client, f"{client} {account[:256]}"
