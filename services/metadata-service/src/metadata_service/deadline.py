"""The time that a call has: one deadline from the gateway's call down to each call of the blob service."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from moorage.errors import ErrorCode, RegistryError

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


@asynccontextmanager
async def within(seconds: float, *, inherit: bool = True) -> AsyncIterator[None]:
    """Bound the time of what runs inside.

    An earlier deadline of the surrounding code stays in force unless `inherit` is false. Raises RegistryError
    (UNAVAILABLE) when the time is up.
    """
    at = asyncio.get_running_loop().time() + seconds
    if inherit:
        at = min(at, _deadline.get())
    token = _deadline.set(at)
    try:
        async with asyncio.timeout_at(at):
            yield
    except TimeoutError as error:
        raise RegistryError(ErrorCode.UNAVAILABLE, "the operation did not finish in time") from error
    finally:
        _deadline.reset(token)


def remaining(most: float) -> float:
    """Seconds until the deadline, at most `most`, never negative."""
    left = _deadline.get() - asyncio.get_running_loop().time()
    return max(0.0, min(most, left))
