"""Health: checks that run all the time, and the state that the gate and `/debug/health` read.

Source: distribution's `health` package and its `health` configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger("api_gateway.health")


class CheckFailedError(Exception):
    """What a probe found, in one sentence."""


@dataclass(frozen=True, slots=True)
class Check:
    """A probe that runs every `interval` seconds and fails its check after `threshold` failures in a row.

    A check that is not `vital` takes no instance out of service: it is reported, and that is all.
    """

    name: str
    probe: Callable[[], Awaitable[None]]
    interval: float
    threshold: int
    vital: bool = True


class HealthState:
    """Which checks fail, and why."""

    def __init__(self) -> None:
        self._errors: dict[str, str] = {}
        self._degraded: dict[str, str] = {}

    @property
    def failing(self) -> bool:
        """Whether a check fails, so that no request is served."""
        return bool(self._errors)

    @property
    def errors(self) -> dict[str, str]:
        """The failing checks by name, each with its reason."""
        return dict(self._errors)

    @property
    def degraded(self) -> dict[str, str]:
        """What the instance does without, by name, each with its reason."""
        return dict(self._degraded)

    def degrade(self, name: str, reason: str) -> None:
        """Say that something is not well which requests can do without."""
        if name not in self._degraded:
            log.warning("degraded", check=name, reason=reason)
        self._degraded[name] = reason

    def fail(self, name: str, reason: str) -> None:
        """Say that a check fails."""
        if name not in self._errors:
            log.error("health check fails", check=name, reason=reason)
        self._errors[name] = reason

    def recover(self, name: str) -> None:
        """Say that a check passes."""
        errors = self._errors.pop(name, None), self._degraded.pop(name, None)
        if any(error is not None for error in errors):
            log.warning("health check passes again", check=name)


@asynccontextmanager
async def running(checks: Sequence[Check], state: HealthState) -> AsyncIterator[None]:
    """Run the checks, each at once and then at its interval, while the context is open."""
    tasks = [asyncio.ensure_future(_repeat(check, state)) for check in checks]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(check: Check, state: HealthState) -> None:
    failures = 0
    while True:
        reason = await _probe(check)
        if reason is None:
            failures = 0
            state.recover(check.name)
        else:
            failures += 1
            if failures >= check.threshold:
                (state.fail if check.vital else state.degrade)(check.name, reason)
        await asyncio.sleep(check.interval)


async def _probe(check: Check) -> str | None:
    """Why the check fails; None when it passes."""
    try:
        await check.probe()
    except CheckFailedError as error:
        return str(error)
    except Exception:
        # A probe that breaks must not end its check: the instance would stay healthy for ever.
        log.exception("health probe broke", check=check.name)
        return "the probe itself failed"
    return None
