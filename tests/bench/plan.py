"""How much is measured: everything, a quick look, or just enough to see that the benchmark works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.operations import Operation
from bench.operations.requests import request_operations
from bench.operations.transfers import GIB, MIB, Amount, pull_operations, push_operations


@dataclass(frozen=True)
class Plan:
    """Sizes, times and rounds. All of `FULL` takes less than half an hour on two processors, `QUICK` three minutes.

    The more an operation moves, the fewer rounds it has.
    """

    rounds: int
    request_seconds: int
    request_concurrencies: tuple[int, ...]
    pulls: tuple[Amount, ...]
    pushes: tuple[Amount, ...]

    def with_at_most(self, rounds: int) -> Plan:
        """The same with fewer rounds."""

        def fewer(amounts: Sequence[Amount]) -> tuple[Amount, ...]:
            return tuple(replace(amount, rounds=min(rounds, amount.rounds)) for amount in amounts)

        return replace(
            self, rounds=min(rounds, self.rounds), pulls=fewer(self.pulls), pushes=fewer(self.pushes)
        )


FULL = Plan(
    rounds=3,
    request_seconds=2,
    request_concurrencies=(1, 16, 64),
    pulls=(
        Amount(4 * MIB, concurrency=1, times=256, rounds=3),
        Amount(4 * MIB, concurrency=16, times=512, rounds=3),
        Amount(4 * MIB, concurrency=64, times=512, rounds=3),
        Amount(256 * MIB, concurrency=1, times=8, rounds=3),
        Amount(256 * MIB, concurrency=16, times=16, rounds=3),
        Amount(256 * MIB, concurrency=64, times=64, rounds=1),
        Amount(2 * GIB, concurrency=1, times=1, rounds=3),
        Amount(2 * GIB, concurrency=8, times=8, rounds=1),
    ),
    pushes=(
        Amount(4 * MIB, concurrency=1, times=64, rounds=3),
        Amount(4 * MIB, concurrency=16, times=128, rounds=3),
        Amount(4 * MIB, concurrency=64, times=128, rounds=3),
        Amount(256 * MIB, concurrency=1, times=2, rounds=3),
        Amount(256 * MIB, concurrency=16, times=16, rounds=2),
        Amount(256 * MIB, concurrency=64, times=64, rounds=1),
        Amount(2 * GIB, concurrency=1, times=1, rounds=2),
        Amount(2 * GIB, concurrency=8, times=8, rounds=1),
    ),
)
QUICK = Plan(
    rounds=1,
    request_seconds=1,
    request_concurrencies=(1, 16),
    pulls=(
        Amount(4 * MIB, concurrency=16, times=128, rounds=1),
        Amount(256 * MIB, concurrency=1, times=4, rounds=1),
        Amount(256 * MIB, concurrency=16, times=16, rounds=1),
    ),
    pushes=(
        Amount(4 * MIB, concurrency=16, times=64, rounds=1),
        Amount(256 * MIB, concurrency=1, times=1, rounds=1),
        Amount(256 * MIB, concurrency=4, times=4, rounds=1),
    ),
)
_TINY = Amount(1 * MIB, concurrency=2, times=2, rounds=1)
TINY = Plan(rounds=1, request_seconds=1, request_concurrencies=(2,), pulls=(_TINY,), pushes=(_TINY,))
PLANS = {"full": FULL, "quick": QUICK, "tiny": TINY}


def operations(plan: Plan) -> list[Operation]:
    """What both registries do, each over its own storage."""
    return [
        *request_operations(plan.request_concurrencies, rounds=plan.rounds, seconds=plan.request_seconds),
        *pull_operations(plan.pulls),
        *push_operations(plan.pushes),
    ]


def selected(operations: Sequence[Operation], only: Sequence[str], skip: Sequence[str]) -> list[Operation]:
    """The operations whose group or name has one of the words of `only` (any, without) and none of `skip`."""

    def has(operation: Operation, words: Sequence[str]) -> bool:
        text = f"{operation.group} {operation.name}".lower()
        return any(word.lower() in text for word in words)

    return [
        operation
        for operation in operations
        if (not only or has(operation, only)) and not has(operation, skip)
    ]
