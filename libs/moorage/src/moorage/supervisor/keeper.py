"""Keeps one program running: starts it, sees it ready, starts it again when it ends, stops it when told."""

from __future__ import annotations

import asyncio

import structlog

from moorage.supervisor.child import Child, Program
from moorage.supervisor.errors import NeverReadyError

log = structlog.get_logger("moorage.supervisor")

# Seconds.
PROBE_INTERVAL = 0.1
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
HEALTHY_AFTER = 10.0


class Keeper:
    """One program, kept. `ready` is set once it has been ready for the first time."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ready = asyncio.Event()
        self._child: Child | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id of its latest run."""
        return self._child.pid if self._child is not None else None

    async def run(self) -> None:
        """Keep it running until `drain` or `kill`.

        Raises NeverReadyError when it ends before it was ready for the first time, and OSError when it cannot
        be started that time.
        """
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            ending, healthy = await self._run_once()
            if self._stopping.is_set():
                return
            if healthy >= HEALTHY_AFTER:
                delay = FIRST_DELAY
            log.warning(f"{self.program.name} {ending}; starting it again", delay=delay)
            await self._pause(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def retire(self) -> None:
        """Do not start it again."""
        self._stopping.set()

    async def drain(self) -> bool:
        """Let it finish what it does and end; False when it had to be killed because that took too long."""
        self.retire()
        if self._child is None:
            return True
        clean = await self._child.stop()
        if not clean:
            log.warning(
                f"{self.program.name} did not stop in time and was killed", limit=self.program.drain_limit
            )
        return clean

    def kill(self) -> None:
        """End it at once."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()

    async def _run_once(self) -> tuple[str, float]:
        """One run: how it ended, and for how many seconds it was ready."""
        try:
            child = self._child = await Child.start(self.program)
        except OSError as error:
            if not self.ready.is_set():
                raise
            return f"could not be started ({error})", 0.0
        if self._stopping.is_set():
            # Told to stop while it was being started.
            child.kill()
        loop = asyncio.get_running_loop()
        probe = asyncio.create_task(self._see_ready(child))
        try:
            ending = await child.wait()
        finally:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            self.program.ended(child.pid)
        if not self.ready.is_set() and not self._stopping.is_set():
            said = child.last_line.removeprefix("moorage: ")
            raise NeverReadyError(f"{self.program.name}: {said or ending}")
        ready_since = None if probe.cancelled() else probe.result()
        return ending, 0.0 if ready_since is None else loop.time() - ready_since

    async def _see_ready(self, child: Child) -> float:
        """Probe until it is ready; when that was."""
        while not await self.program.is_ready(child.pid):  # noqa: ASYNC110  another process gets ready
            await asyncio.sleep(PROBE_INTERVAL)
        self.ready.set()
        log.debug(f"{self.program.name} is ready", pid=child.pid)
        return asyncio.get_running_loop().time()

    async def _pause(self, delay: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), delay)
        except TimeoutError:
            return
