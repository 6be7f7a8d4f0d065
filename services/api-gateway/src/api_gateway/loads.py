"""How many connections each worker has, for all workers to see, so that the next goes to one with the fewest.

Waking up first is no measure of who is idle: of a burst, whoever wakes first would have everything before the
next one runs.
"""

from __future__ import annotations

import mmap
from typing import Final, Protocol

from api_gateway.sharedfile import SharedFile

# One number for each worker, as wide as a processor writes at once.
_WIDTH = 4
_FORMAT: Final = "I"

# Of a worker that does not run: it is nobody's turn before its own.
_ABSENT = 2**32 - 1


class Load(Protocol):
    """A process's connections beside those of others."""

    def opened(self) -> None:
        """Count a connection."""

    def closed(self) -> None:
        """Count one less."""

    @property
    def is_lowest(self) -> bool:
        """Whether no other process has fewer."""
        ...  # the protocol's


class _OnlyLoad:
    is_lowest = True

    def opened(self) -> None:
        """Count nothing."""

    def closed(self) -> None:
        """Count nothing."""


ONLY_LOAD: Load = _OnlyLoad()
"""The load of a process that accepts alone."""


class SharedLoads:
    """The parent's part: a file that all workers map."""

    def __init__(self, workers: int) -> None:
        self._file = SharedFile(workers * _WIDTH)
        self._counts = memoryview(self._file.memory).cast(_FORMAT)
        for index in range(workers):
            self._counts[index] = _ABSENT

    @property
    def descriptor(self) -> int:
        """What the workers inherit."""
        return self._file.descriptor

    def absent(self, number: int) -> None:
        """Expect nothing of the worker with this number (from 1): it has ended."""
        self._counts[number - 1] = _ABSENT

    def close(self) -> None:
        """Share nothing more."""
        self._counts.release()
        self._file.close()


class InheritedLoad:
    """The load of the worker with this number (from 1), in the file of `SharedLoads`."""

    def __init__(self, descriptor: int, number: int) -> None:
        self._counts = memoryview(mmap.mmap(descriptor, 0)).cast(_FORMAT)
        self._index = number - 1
        self._counts[self._index] = 0

    def opened(self) -> None:
        """Count a connection."""
        self._counts[self._index] += 1

    def closed(self) -> None:
        """Count one less."""
        self._counts[self._index] -= 1

    @property
    def is_lowest(self) -> bool:
        """Whether no other worker has fewer."""
        return self._counts[self._index] <= min(self._counts)
