"""How much is measured: everything, a quick look, or just enough to see that the benchmark works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.operations import Operation
from bench.operations.commands import Layers, Workshop, command_operations
from bench.operations.growth import growth_operations
from bench.operations.requests import request_operations
from bench.operations.small_images import PushImages
from bench.operations.transfers import GIB, MIB, Amount, PulledBlobs, pull_operations, push_operations


@dataclass(frozen=True)
class Plan:
    """Sizes, times and rounds.

    On two processors `FULL` takes about half an hour, `QUICK` less than three minutes. The more an operation
    moves, the fewer rounds it has. The numbers of `growth` are those of tags and repositories; an image of
    `images` counts as an amount of one layer, and one of `events` as the number of pulls.
    """

    rounds: int
    request_seconds: int
    request_concurrencies: tuple[int, ...]
    memory: Amount
    pulls: tuple[Amount, ...]
    pushes: tuple[Amount, ...]
    images: tuple[Amount, ...]
    events: tuple[Amount, ...]
    layers: Layers
    command_rounds: int
    growth: tuple[int, ...]
    growth_rounds: int
    growth_seconds: float

    def with_at_most(self, rounds: int) -> Plan:
        """The same with fewer rounds."""

        def fewer(amounts: Sequence[Amount]) -> tuple[Amount, ...]:
            return tuple(replace(amount, rounds=min(rounds, amount.rounds)) for amount in amounts)

        return replace(
            self,
            rounds=min(rounds, self.rounds),
            pulls=fewer(self.pulls),
            pushes=fewer(self.pushes),
            images=fewer(self.images),
            events=fewer(self.events),
            command_rounds=min(rounds, self.command_rounds),
            growth_rounds=min(rounds, self.growth_rounds),
        )


FULL = Plan(
    rounds=3,
    request_seconds=2,
    request_concurrencies=(1, 16, 64),
    memory=Amount(2 * GIB, concurrency=8, times=8, rounds=1),
    pulls=(
        Amount(4 * MIB, concurrency=1, times=256, rounds=3),
        Amount(4 * MIB, concurrency=16, times=512, rounds=3),
        Amount(4 * MIB, concurrency=64, times=512, rounds=3),
        # One connection over loopback is as fast as the places that its two ends have on the processors: a
        # program that does nothing but sendfile(2) varies by a factor of three from round to round.
        Amount(256 * MIB, concurrency=1, times=8, rounds=15),
        Amount(256 * MIB, concurrency=16, times=16, rounds=5),
        Amount(256 * MIB, concurrency=64, times=64, rounds=1),
        Amount(2 * GIB, concurrency=1, times=1, rounds=7),
    ),
    pushes=(
        Amount(4 * MIB, concurrency=1, times=64, rounds=5),
        Amount(4 * MIB, concurrency=16, times=128, rounds=5),
        Amount(4 * MIB, concurrency=64, times=128, rounds=5),
        Amount(256 * MIB, concurrency=1, times=2, rounds=9),
        Amount(256 * MIB, concurrency=16, times=16, rounds=3),
        Amount(256 * MIB, concurrency=64, times=64, rounds=1),
        Amount(2 * GIB, concurrency=1, times=1, rounds=2),
    ),
    images=(
        Amount(2000, concurrency=1, times=64, rounds=3),
        Amount(2000, concurrency=16, times=192, rounds=3),
        Amount(2000, concurrency=64, times=256, rounds=3),
    ),
    events=(Amount(0, concurrency=16, times=5000, rounds=3),),
    layers=Layers(4, 64 * MIB),
    command_rounds=3,
    growth=(10, 1_000, 100_000),
    growth_rounds=2,
    growth_seconds=1,
)
QUICK = Plan(
    rounds=1,
    request_seconds=1,
    request_concurrencies=(1, 16),
    memory=Amount(256 * MIB, concurrency=4, times=4, rounds=1),
    pulls=(
        Amount(4 * MIB, concurrency=16, times=128, rounds=1),
        Amount(256 * MIB, concurrency=1, times=4, rounds=1),
        Amount(256 * MIB, concurrency=16, times=16, rounds=1),
    ),
    pushes=(
        Amount(4 * MIB, concurrency=16, times=64, rounds=1),
        Amount(256 * MIB, concurrency=1, times=1, rounds=1),
    ),
    images=(Amount(2000, concurrency=16, times=64, rounds=1),),
    events=(Amount(0, concurrency=16, times=2000, rounds=1),),
    layers=Layers(4, 8 * MIB),
    command_rounds=1,
    growth=(10, 1_000),
    growth_rounds=1,
    growth_seconds=1,
)
_TINY = Amount(1 * MIB, concurrency=2, times=2, rounds=1)
TINY = Plan(
    rounds=1,
    request_seconds=1,
    request_concurrencies=(2,),
    memory=_TINY,
    pulls=(_TINY,),
    pushes=(_TINY,),
    images=(_TINY,),
    events=(Amount(0, concurrency=2, times=20, rounds=1),),
    layers=Layers(2, 1 * MIB),
    command_rounds=1,
    growth=(10,),
    growth_rounds=1,
    growth_seconds=0,
)
PLANS = {"full": FULL, "quick": QUICK, "tiny": TINY}


def operations(plan: Plan, workshop: Workshop) -> list[Operation]:
    """What both registries do, each over its own storage.

    Those of the group "memory" come first: the registries have just been started.
    """
    blobs = PulledBlobs()
    return [
        *push_operations([plan.memory], "memory"),
        *pull_operations([plan.memory], blobs, "memory"),
        *request_operations(plan.request_concurrencies, rounds=plan.rounds, seconds=plan.request_seconds),
        *pull_operations(plan.pulls, blobs),
        *push_operations(plan.pushes),
        *(PushImages(amount.concurrency, amount.times, amount.rounds) for amount in plan.images),
        *command_operations(workshop, rounds=plan.command_rounds),
    ]


def operations_on(plan: Plan, count: int) -> list[Operation]:
    """What both registries are asked over one storage tree with so many tags and repositories."""
    return growth_operations(count, rounds=plan.growth_rounds, seconds=plan.growth_seconds)


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
