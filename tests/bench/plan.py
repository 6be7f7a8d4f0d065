"""How much is measured: everything, a quick look, or just enough to see that the benchmark works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.operations import Operation
from bench.operations.requests import request_operations


@dataclass(frozen=True)
class Plan:
    """Sizes and times. The whole of `FULL` takes about 25 minutes on two processors, of `QUICK` two."""

    rounds: int
    request_seconds: int
    request_concurrencies: tuple[int, ...]


FULL = Plan(rounds=3, request_seconds=2, request_concurrencies=(1, 16, 64))
QUICK = Plan(rounds=1, request_seconds=1, request_concurrencies=(1, 16))
TINY = Plan(rounds=1, request_seconds=1, request_concurrencies=(2,))
PLANS = {"full": FULL, "quick": QUICK, "tiny": TINY}


def operations(plan: Plan) -> list[Operation]:
    """What both registries do, each over its own storage."""
    return [
        *request_operations(plan.request_concurrencies, rounds=plan.rounds, seconds=plan.request_seconds),
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
