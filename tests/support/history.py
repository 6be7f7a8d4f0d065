"""Histories of one register, and whether they are linearizable.

A history is what clients saw: reads and writes, each with the moment before it was sent and the moment after
it was answered. It is linearizable when each operation can be given one moment between these two such that,
in the order of the moments, every read finds the value of the last write before it (Herlihy and Wing, 1990).

Every write has a value of its own. So a read says which write it saw, and a history can be decided in
O(n log n) instead of by search (Gibbons and Korach, "Testing Shared Memories", 1997, section 4). A write and
the reads that saw it are a cluster. Its zone is the time between the first end of its operations and the last
beginning. Where the first end comes first the zone is forward: the register certainly held the value during
all of it. Otherwise it is backward, and one moment inside it is enough for the whole cluster. The history is
linearizable if and only if no read comes before its own write, no two forward zones overlap, and no backward
zone lies inside a forward one.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

# The register's value before the first write.
NOTHING = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A read or a write, by one client.

    `end` is infinite for a write whose outcome the client does not know: it may have happened at any moment
    since `begin`, may still happen, or may never happen. A read without an answer says nothing and is no
    operation.
    """

    kind: str
    value: str
    begin: float
    end: float
    client: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("read", "write"):
            raise ValueError(f"neither a read nor a write: {self.kind!r}")
        if self.end < self.begin:
            raise ValueError(f"it ends before it begins: {self}")
        if self.kind == "read" and math.isinf(self.end):
            raise ValueError(f"a read without an answer: {self}")

    def __str__(self) -> str:
        end = "?" if math.isinf(self.end) else f"{self.end:.6f}"
        value = self.value[:24] or "nothing"
        return f"{self.client or 'a client'} {self.kind} {value!r} [{self.begin:.6f}, {end}]"


class NotLinearizableError(AssertionError):
    """The history shows that the register is none. The message names operations that contradict."""


@dataclass
class _Cluster:
    """A write and the reads that saw it."""

    write: Operation
    reads: list[Operation] = field(default_factory=list)

    @property
    def operations(self) -> list[Operation]:
        return [self.write, *self.reads]

    @property
    def first_end(self) -> Operation:
        return min(self.operations, key=lambda each: each.end)

    @property
    def last_begin(self) -> Operation:
        return max(self.operations, key=lambda each: each.begin)

    @property
    def low(self) -> float:
        return min(self.first_end.end, self.last_begin.begin)

    @property
    def high(self) -> float:
        return max(self.first_end.end, self.last_begin.begin)

    @property
    def is_forward(self) -> bool:
        return self.first_end.end < self.last_begin.begin


def check_linearizable(operations: Sequence[Operation], *, initial: str = NOTHING) -> None:
    """Raise NotLinearizableError unless the history is linearizable, for a register with `initial` at first.

    Raises ValueError when two writes have the same value, or one has the initial one: that decides nothing.
    """
    clusters = _clusters(operations, initial)
    for cluster in clusters:
        for read in cluster.reads:
            if read.end < cluster.write.begin:
                raise NotLinearizableError(f"read before it was written:\n  {read}\n  {cluster.write}")
    forward = sorted((each for each in clusters if each.is_forward), key=lambda each: each.low)
    for one, other in pairwise(forward):
        if other.low < one.high:
            raise NotLinearizableError(_contradiction(one, other))
    for cluster in clusters:
        if cluster.is_forward:
            continue
        around = _last_that_begins_before(forward, cluster.low)
        if around is not None and cluster.high < around.high:
            raise NotLinearizableError(_contradiction(around, cluster))


def _clusters(operations: Sequence[Operation], initial: str) -> list[_Cluster]:
    clusters = {initial: _Cluster(Operation("write", initial, -math.inf, -math.inf, "the beginning"))}
    for operation in operations:
        if operation.kind == "write":
            if operation.value in clusters:
                raise ValueError(f"written twice: {operation.value!r}")
            clusters[operation.value] = _Cluster(operation)
    for operation in operations:
        if operation.kind == "read":
            if operation.value not in clusters:
                raise NotLinearizableError(f"read but never written:\n  {operation}")
            clusters[operation.value].reads.append(operation)
    # A write of unknown outcome that nobody saw has not happened, as far as anybody can tell.
    return [each for each in clusters.values() if each.reads or not math.isinf(each.write.end)]


def _last_that_begins_before(forward: Sequence[_Cluster], moment: float) -> _Cluster | None:
    """The forward zones do not overlap, so that no other one can be around the moment."""
    position = bisect_left(forward, moment, key=lambda each: each.low)
    return forward[position - 1] if position else None


def _contradiction(around: _Cluster, other: _Cluster) -> str:
    lines = ["no order of these explains what was read:"]
    for cluster in (around, other):
        seen = {id(each): each for each in (cluster.write, cluster.first_end, cluster.last_begin)}
        lines += [f"  {each}" for each in sorted(seen.values(), key=lambda each: each.begin)]
    return "\n".join(lines)


class Recorder:
    """Writes down what clients see, for several registers and from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: dict[str, list[Operation]] = defaultdict(list)

    @contextmanager
    def write(self, register: str, value: str, client: str = "") -> Iterator[Write]:
        """Around a write; its outcome is unknown unless the block says that it was acknowledged."""
        write = Write()
        begin = time.monotonic()
        try:
            yield write
        finally:
            end = time.monotonic() if write.acknowledged else math.inf
            self._add(register, Operation("write", value, begin, end, client))

    @contextmanager
    def read(self, register: str, client: str = "") -> Iterator[Read]:
        """Around a read; without a value it does not count."""
        read = Read()
        begin = time.monotonic()
        yield read
        if read.value is not None:
            self._add(register, Operation("read", read.value, begin, time.monotonic(), client))

    @property
    def histories(self) -> dict[str, list[Operation]]:
        """Each register's operations."""
        with self._lock:
            return {register: list(operations) for register, operations in self._operations.items()}

    def _add(self, register: str, operation: Operation) -> None:
        with self._lock:
            self._operations[register].append(operation)


@dataclass
class Write:
    """What the client knows of its write."""

    acknowledged: bool = False


@dataclass
class Read:
    """What a read found; None when it got no answer."""

    value: str | None = None
