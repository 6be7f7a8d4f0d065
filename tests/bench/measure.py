"""What a registry's processes use: processor time and memory, of the whole tree."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from support.processes import reset_peak_memory

_TICK = os.sysconf("SC_CLK_TCK")
# A registry is quiet when it uses less than this share of one processor for one interval.
_QUIET_SHARE = 0.15
_QUIET_INTERVAL = 0.1
_QUIET_TIMEOUT = 5.0


@dataclass(frozen=True)
class Memory:
    """Resident memory of the processes that make one part of a registry, bytes, summed.

    A page that several processes share counts once for each.
    """

    part: str
    idle: int
    peak: int


@dataclass(frozen=True)
class Usage:
    """What a registry used for a piece of work."""

    seconds: float
    cpu_seconds: float
    memory: tuple[Memory, ...]


def cpu_seconds_in(stat: str) -> float:
    """User and system time of a process and of its children that ended, from its /proc/PID/stat (proc(5))."""
    # The command's name stands in parentheses and may hold any character.
    fields = stat[stat.rindex(")") + 2 :].split()
    return sum(map(int, fields[11:15])) / _TICK


def tree(root: int) -> list[psutil.Process]:
    """A process and its descendants, children before their parents."""
    process = psutil.Process(root)
    return [*reversed(process.children(recursive=True)), process]


def cpu_seconds(root: int) -> float:
    """Processor time of a process tree since it started, ended children included.

    Children are read before their parents: one that ends meanwhile is in its parent's sum.
    """
    total = 0.0
    for process in tree(root):
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += cpu_seconds_in(stat)
    return total


def peak_memory(pid: int) -> int | None:
    """The most resident memory that a process has had, bytes (VmHWM); None when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A process that has ended and is not waited for yet has a status, and no memory.
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def parts(root: int, name_of: Callable[[list[str]], str | None]) -> dict[int, str]:
    """The part of the registry that each process of the tree belongs to.

    `name_of` reads a command line. A process that it does not know, such as a worker, belongs to the part of
    its parent.
    """
    names: dict[int, str] = {}
    for process in reversed(tree(root)):
        try:
            name = name_of(process.cmdline()) or names.get(process.ppid())
        except psutil.NoSuchProcess:
            continue
        names[process.pid] = name or name_of([]) or process.name()
    return names


def summed(samples: Iterable[tuple[str, int, int]]) -> tuple[Memory, ...]:
    """Samples of (part, idle, peak) as one record for each part."""
    idle: dict[str, int] = defaultdict(int)
    peak: dict[str, int] = defaultdict(int)
    for part, before, most in samples:
        idle[part] += before
        peak[part] += most
    return tuple(Memory(part, idle[part], peak[part]) for part in sorted(peak))


class Meter:
    """Measures one registry between `start` and `stop`."""

    def __init__(self, root: int, name_of: Callable[[list[str]], str | None]) -> None:
        self._root = root
        self._name_of = name_of
        self._idle: dict[int, int] = {}
        self._cpu = 0.0
        self._started = 0.0

    def start(self) -> None:
        """Wait until the registry is quiet; peaks and processor time count from here."""
        self._wait_until_quiet()
        self._idle = {}
        for process in tree(self._root):
            with suppress(FileNotFoundError, ProcessLookupError):
                reset_peak_memory(process.pid)
            idle = peak_memory(process.pid)
            if idle is not None:
                self._idle[process.pid] = idle
        self._cpu = cpu_seconds(self._root)
        self._started = time.perf_counter()

    def stop(self) -> Usage:
        """The usage since `start`.

        Processor time includes what the registry does after its last answer, until it is quiet again.
        """
        seconds = time.perf_counter() - self._started
        self._wait_until_quiet()
        used = cpu_seconds(self._root) - self._cpu
        samples = []
        for pid, part in parts(self._root, self._name_of).items():
            peak = peak_memory(pid)
            if peak is not None:
                samples.append((part, self._idle.get(pid, 0), peak))
        return Usage(seconds, used, summed(samples))

    def _wait_until_quiet(self) -> None:
        deadline = time.monotonic() + _QUIET_TIMEOUT
        before = cpu_seconds(self._root)
        while time.monotonic() < deadline:
            time.sleep(_QUIET_INTERVAL)
            now = cpu_seconds(self._root)
            if now - before < _QUIET_SHARE * _QUIET_INTERVAL:
                return
            before = now
