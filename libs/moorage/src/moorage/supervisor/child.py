"""One run of one child process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

# A longer line of standard error is passed on in pieces.
_LINE_MAX = 64 * 1024
_RELAY_LIMIT = 5.0


def every_line(_line: bytes) -> bool:
    """Pass on whatever the child says."""
    return True


def nobody_cares(_pid: int) -> None:
    """Nothing is to be done when a run has ended."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, how to see that it does its work, and how long it may take to stop (seconds)."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ready: Callable[[int], Awaitable[bool]]  # takes the process id
    drain_limit: float
    passes_on: Callable[[bytes], bool] = every_line
    descriptors: tuple[int, ...] = ()  # of the supervisor's, to be kept open
    ended: Callable[[int], None] = nobody_cares  # told the process id of each run that has ended


class Child:
    """A running program in a session of its own, so that a terminal's Ctrl-C does not reach it.

    Its standard output is the supervisor's. Its standard error is passed on line by line, and the last line
    is kept, for it says why the program ended.
    """

    def __init__(
        self, program: Program, process: Process, relay: threading.Thread, last: list[bytes]
    ) -> None:
        self.program = program
        self._process = process
        self._relay = relay
        self._last = last

    @classmethod
    async def start(cls, program: Program) -> Child:
        """Start it; raises OSError when the system does not."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program.command,
                env=program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=writing,
                start_new_session=True,
                pass_fds=program.descriptors,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        last: list[bytes] = []
        # A thread, because a terminal that takes no more output must hold up this child and nothing else.
        relay = threading.Thread(
            target=_pass_on, args=(os.fdopen(reading, "rb"), program, last), name=f"{program.name}-stderr"
        )
        relay.daemon = True
        relay.start()
        return cls(program, process, relay, last)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def last_line(self) -> str:
        """The last line of its standard error that is not empty, without control characters."""
        text = self._last[0].decode(errors="replace") if self._last else ""
        return "".join(character for character in text if character.isprintable()).strip()

    async def wait(self) -> str:
        """Wait for its end; how it ended, in words."""
        code = await self._process.wait()
        await asyncio.to_thread(self._relay.join, _RELAY_LIMIT)
        if code >= 0:
            return f"exited with status {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"

    async def stop(self) -> bool:
        """Ask it to stop and wait; after its drain limit, kill it. False when it had to be killed."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), self.program.drain_limit)
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return False
        return True

    def kill(self) -> None:
        """End it at once, and whatever it started."""
        if self._process.returncode is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return


def _pass_on(stream: BinaryIO, program: Program, last: list[bytes]) -> None:
    """Copy lines to our standard error until the child closes its own."""
    heard = True
    with stream:
        while line := stream.readline(_LINE_MAX):
            if not program.passes_on(line):
                continue
            if line.strip():
                last[:] = [line]
            if heard:
                heard = _write(line)


def _write(line: bytes) -> bool:
    """Write to standard error; False when nobody reads it any more. The child must not suffer for that."""
    try:
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    except (OSError, ValueError):
        return False
    return True
