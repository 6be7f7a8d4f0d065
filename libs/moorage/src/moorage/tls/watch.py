"""Files that are looked at now and then, and what was last read of them that could be used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter, Gauge

from moorage.tls.files import CertificateFiles, Pair, UnusableFileError

log = structlog.get_logger("moorage.tls")

# Seconds between two looks.
INTERVAL = 5.0

# A moment, not a duration: over several processes the earliest one counts (workers.metrics).
_EXPIRY = Gauge(
    "registry_tls_certificate_expiry_timestamp_seconds",
    "When the certificate in use ends, by the section of the configuration that names it.",
    ["section"],
)
_RELOADS = Counter(
    "registry_tls_certificate_reloads",
    "Changed certificates, by what became of them: loaded, or refused and the former one kept.",
    ["section", "outcome"],
)

T = TypeVar("T")


class Watched(Generic[T]):
    """What `make` makes of the files, made anew when they change.

    A change that cannot be used is logged and counted, and what was made before stays.
    """

    def __init__(self, files: CertificateFiles, make: Callable[[Pair], T]) -> None:
        """Read them once. Raises UnusableFileError, also what `make` raises of it."""
        self._files = files
        self._make = make
        self._stamp = self._look()
        self._refused = ""
        # Grows with each change.
        self.generation = 0
        pair = files.read()
        self.current = make(pair)
        self._tell(pair)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at the files every few seconds while the context is open."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def check(self) -> None:
        """Look at the files, and read them again if they have changed. Never raises."""
        stamp = self._look()
        if stamp is None:
            self._refuse("a file is missing")
            return
        if stamp == self._stamp:
            return
        try:
            pair = self._files.read()
            made = self._make(pair)
        except UnusableFileError as error:
            # They may be in the middle of being replaced, one after the other: look again soon.
            self._refuse(str(error))
            return
        self._stamp, self._refused = stamp, ""
        self.current = made
        self.generation += 1
        _RELOADS.labels(self._files.section, "loaded").inc()
        self._tell(pair)
        log.info(
            "a changed certificate is in use", section=self._files.section, expires=pair.expires.isoformat()
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await asyncio.to_thread(self.check)

    def _look(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            return self._files.stamp()
        except OSError:
            return None

    def _refuse(self, reason: str) -> None:
        if reason == self._refused:
            return
        self._refused = reason
        _RELOADS.labels(self._files.section, "refused").inc()
        log.error(
            "a changed certificate cannot be used; the former one stays",
            section=self._files.section,
            reason=reason,
        )

    def _tell(self, pair: Pair) -> None:
        _EXPIRY.labels(self._files.section).set(pair.expires.timestamp())
        # From the start at 0: an increase is seen only where there was a value before.
        _RELOADS.labels(self._files.section, "refused")
