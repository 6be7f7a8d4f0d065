"""The health of a gateway that is several processes: the parent checks, the workers see what it found.

One byte of a file that all of them map: workers look at it with every request, and one that starts later, or
again, sees it as it is.
"""

from __future__ import annotations

import mmap

from api_gateway.health import HealthState
from api_gateway.sharedfile import SharedFile

_FAILING = 1


class PublishedHealth(HealthState):
    """The parent's state; whether a check fails is what the workers see."""

    def __init__(self) -> None:
        super().__init__()
        self._file = SharedFile(1)

    @property
    def descriptor(self) -> int:
        """What the workers inherit."""
        return self._file.descriptor

    def fail(self, name: str, reason: str) -> None:
        """Say that a check fails."""
        super().fail(name, reason)
        self._publish()

    def recover(self, name: str) -> None:
        """Say that a check passes."""
        super().recover(name)
        self._publish()

    def close(self) -> None:
        """Publish nothing more."""
        self._file.close()

    def _publish(self) -> None:
        self._file.memory[0] = _FAILING if self.failing else 0


class InheritedHealth(HealthState):
    """A worker's view of its parent's state: whether a check fails, not which."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._memory = mmap.mmap(descriptor, 1, access=mmap.ACCESS_READ)

    @property
    def failing(self) -> bool:
        """Whether a check fails, so that no request is served."""
        return self._memory[0] == _FAILING
