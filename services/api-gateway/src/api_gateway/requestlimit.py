"""How many requests a client may make: `http.limits.requestrate` and `http.limits.requestburst`.

A token bucket for each client, kept as the one moment at which it will be full again (the generic cell rate
algorithm). All workers look at the same buckets; of requests that two of them take at the very same moment,
one may go uncounted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway.limitmemory import SETS, WAYS, LimitMemory, client_of
from api_gateway.limits import refused
from api_gateway.record import RECORD_KEY
from api_gateway.refusal import RefusalError, retry_after
from moorage.config.limits import Limits
from moorage.errors import ErrorCode, RegistryError


class Buckets:
    """The buckets of all clients. `clock` is one that all workers see alike."""

    def __init__(
        self, limits: Limits, memory: LimitMemory, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory = memory
        self._clock = clock
        # Seconds for each request, and how far ahead of its time a client may be.
        self._cost = 1.0 / limits.requestrate
        self._ahead = self._cost * limits.burst

    def take(self, client: str) -> float:
        """Take one request out of a client's bucket: 0.0, or in how many seconds there will be one."""
        hashes, times = self._memory.hashes, self._memory.times
        number, now = self._memory.hash_of(client), self._clock()
        first = number % SETS * WAYS
        place = first
        for each in range(first, first + WAYS):
            if hashes[each] == number:
                place = each
                break
            if times[each] < times[place]:
                place = each
        else:
            hashes[place], times[place] = number, 0.0
        full = max(times[place], now) + self._cost
        if full - now > self._ahead:
            return full - now - self._ahead
        times[place] = full
        return 0.0


class RequestLimit:
    """Refuses the requests of a client that makes too many, with 429 and Retry-After."""

    def __init__(self, app: ASGIApp, buckets: Buckets) -> None:
        self._app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise RegistryError."""
        if scope["type"] == "http":
            # The address that a trusted proxy vouches for; none on a unix socket without one.
            client = client_of(scope[RECORD_KEY].client)
            if client and (wait := self._buckets.take(client)):
                refused("requestrate", client)
                error = RegistryError(ErrorCode.TOOMANYREQUESTS)
                raise RefusalError.wrap(error, [retry_after(math.ceil(wait))])
        await self._app(scope, receive, send)
