"""Rounds: each operation by one registry and then by the other, and so on."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence

from bench.operations import Operation
from bench.registries import Registry
from bench.results import Results, Run

Report = Callable[[str], None]


def client_cpu_seconds() -> float:
    """Processor time of this process and of the clients that it has run to their end."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measure(operation: Operation, registry: Registry, number: int) -> Run:
    """Do an operation once; raises what it raises."""
    operation.prepare(registry)
    try:
        meter = registry.meter()
        meter.start()
        client = client_cpu_seconds()
        work = operation.work(registry)
        client = client_cpu_seconds() - client
        usage = meter.stop()
    finally:
        operation.clean(registry)
    return Run(
        registry=registry.name,
        round=number,
        requests=work.requests,
        bytes=work.bytes,
        seconds=work.seconds,
        cpu_seconds=usage.cpu_seconds,
        client_cpu_seconds=client,
        latency_ms=dict(work.latency_ms),
        memory=usage.memory,
    )


def line_of(operation: Operation, run: Run) -> str:
    """A run in one line, for who watches."""
    what = f"{operation.group:9} {operation.name:34} x{operation.concurrency:<3} {run.registry:16}"
    took = f"{run.requests / run.seconds:9.1f}/s {run.bytes / run.seconds / 1e6:8.1f} MB/s"
    cost = f"{1000 * run.cpu_seconds / run.requests:10.3f} CPU-ms each"
    peak = f"{sum(memory.peak for memory in run.memory) >> 20:5d} MiB"
    return f"{what} {took} {cost} {peak}"


def rounds(
    operations: Sequence[Operation],
    registries: Sequence[Registry],
    results: Results,
    *,
    until: float,
    report: Report,
) -> None:
    """Run all rounds of the operations, and put what they find into `results`.

    An operation that fails is named in `results.failures` and not tried again; the others go on. No round but
    the first starts an operation after `until`, on time.monotonic's clock.
    """
    failed: set[int] = set()
    for number in range(max((operation.rounds for operation in operations), default=0)):
        for index, operation in enumerate(operations):
            if number >= operation.rounds or index in failed:
                continue
            if number and time.monotonic() > until:
                report("The time is up: the rounds that are left are not run.")
                return
            # Who goes second finds the machine as the first left it: each in turn.
            for registry in registries if number % 2 == 0 else list(reversed(registries)):
                try:
                    run = measure(operation, registry, number)
                # Whatever goes wrong with one operation is reported, and the others are measured.
                except Exception as error:
                    failed.add(index)
                    failure = f"{operation.name} x{operation.concurrency}, {registry.name}: {error!r}"
                    results.failures.append(failure)
                    report(f"FAILED {failure}")
                    break
                results.row(operation.group, operation.name, operation.concurrency).runs.append(run)
                report(line_of(operation, run))
