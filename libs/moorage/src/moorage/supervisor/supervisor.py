"""Several programs as one: started together, kept running, stopped in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

from moorage.supervisor.child import Program
from moorage.supervisor.errors import StartError
from moorage.supervisor.keeper import Keeper

# Seconds that all programs may take until each has been ready once.
START_LIMIT = 60.0


class Signals:
    """What the operator asks for: the first signal stops; Ctrl-C while it stops kills."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.kill = asyncio.Event()

    def listen(self) -> None:
        """Take SIGINT and SIGTERM, and SIGHUP (the terminal is gone) unless it is ignored, as under nohup."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._receive, number)

    def _receive(self, number: signal.Signals) -> None:
        if not self.stop.is_set():
            self.stop.set()
        elif number == signal.SIGINT:
            # Only a person is impatient: make and process managers may send one SIGTERM on several ways.
            self.kill.set()


class Supervisor:
    """The programs that run. What was started later stops earlier; one start's order is kept.

    With `at_once`, all of them stop at the same time.
    """

    def __init__(self, signals: Signals, *, at_once: bool = False) -> None:
        self._signals = signals
        self._at_once = at_once
        self._keepers: list[Keeper] = []
        self._tasks: dict[Keeper, asyncio.Task[None]] = {}

    async def start(self, programs: Sequence[Program]) -> bool:
        """Start the programs and wait until each is ready; False when the operator wants to stop before.

        `programs` are in the order in which they will stop. Raises StartError.
        """
        keepers = [Keeper(program) for program in programs]
        self._keepers[:0] = keepers
        for keeper in keepers:
            self._tasks[keeper] = asyncio.create_task(keeper.run(), name=keeper.program.name)
        everyone = asyncio.create_task(_all_ready(keepers))
        stop = asyncio.create_task(self._signals.stop.wait())
        try:
            await asyncio.wait(
                [everyone, stop, *self._tasks.values()],
                timeout=START_LIMIT,
                return_when=asyncio.FIRST_COMPLETED,
            )
            self._raise_failure()
            if everyone.done():
                return True
            if stop.done():
                return False
        finally:
            everyone.cancel()
            stop.cancel()
            await asyncio.gather(everyone, stop, return_exceptions=True)
        late = ", ".join(keeper.program.name for keeper in keepers if not keeper.ready.is_set())
        raise StartError(f"not ready after {START_LIMIT:.0f} s: {late}")

    async def watch(self) -> None:
        """Keep everything running until the operator wants to stop."""
        stop = asyncio.create_task(self._signals.stop.wait())
        try:
            await asyncio.wait([stop, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
            self._raise_failure()
        finally:
            stop.cancel()
            await asyncio.gather(stop, return_exceptions=True)

    def retire(self) -> None:
        """Start nothing again: `drain` follows."""
        for keeper in self._keepers:
            keeper.retire()

    async def drain(self) -> bool:
        """Stop the programs; False when one had to be killed."""
        draining = asyncio.create_task(self._drain_each())
        kill = asyncio.create_task(self._signals.kill.wait())
        try:
            await asyncio.wait([draining, kill], return_when=asyncio.FIRST_COMPLETED)
            killed = not draining.done()
            if killed:
                for keeper in self._keepers:
                    keeper.kill()
            clean = await draining
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            return clean and not killed
        finally:
            kill.cancel()
            await asyncio.gather(kill, return_exceptions=True)

    async def _drain_each(self) -> bool:
        if self._at_once:
            return all(await asyncio.gather(*(keeper.drain() for keeper in self._keepers)))
        results = [await keeper.drain() for keeper in self._keepers]
        return all(results)

    def _raise_failure(self) -> None:
        for task in self._tasks.values():
            if task.done():
                error = task.exception()
                if isinstance(error, OSError):
                    raise StartError(f"{task.get_name()}: {error.strerror or error}") from error
                if error is not None:
                    raise error


async def _all_ready(keepers: Sequence[Keeper]) -> None:
    for keeper in keepers:
        await keeper.ready.wait()
