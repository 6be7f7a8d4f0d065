"""What a service says about its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from moorage.config import Configuration
from moorage.workers.roster import Roster


def _nothing(*_: object) -> None:
    """Nothing is shared."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers of one service, before they are started.

    `environments` holds for each what it finds in its environment beside the parent's; None takes a variable
    away. `descriptors` are files of the parent that every worker inherits under the same numbers. The parent
    calls `close` when the workers are about to stop: whatever they share must not outlive them in the parent.
    It calls `ended` with a worker's number, from 1, when that one has ended, each time.
    """

    environments: Sequence[Mapping[str, str | None]]
    descriptors: tuple[int, ...] = ()
    close: Callable[[], None] = _nothing
    ended: Callable[[int], None] = _nothing


Opened = Callable[[Configuration, Roster], AbstractAsyncContextManager[Fleet]]


@dataclass(frozen=True, slots=True)
class Workers:
    """How a service runs as several processes.

    `count` says how many. `opened` is the parent's part, open while the workers run; it raises
    ConfigurationError or OSError before the first of them is started.
    """

    count: Callable[[Configuration], int]
    opened: Opened
