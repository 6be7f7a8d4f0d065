"""`python -m bench`: measure."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench import plan
from bench.clients.hook import subscribing
from bench.machine import machine, versions
from bench.operations import Operation
from bench.operations.commands import Workshop
from bench.operations.events import (
    BATCH,
    SYNC_INTERVAL,
    batched_operations,
    event_operations,
    notifications,
)
from bench.operations.growth import plant
from bench.registries import both
from bench.results import Results
from bench.run import rounds
from bench.tables import tables


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="plan", const="quick", help="within 3 minutes")
    size.add_argument("--tiny", action="store_const", dest="plan", const="tiny", help="to see that it works")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD",
        help="operations whose group or name has this word; may be given again",
    )  # fmt: skip
    parser.add_argument("--skip", action="append", default=[], metavar="WORD", help="leave these out")
    parser.add_argument("--rounds", type=int, metavar="N", help="at most N, for every operation")
    parser.add_argument("--minutes", type=float, default=30, help="start no further round after so long")
    parser.add_argument(
        "--quiet-logs", action="store_true", help="both registries log errors only, and no access log"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument(
        "--storage",
        type=Path,
        metavar="FOLDER",
        help="where the storage is made, for a time; default: TMPDIR",
    )
    parser.set_defaults(plan="full")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure as the arguments say. 0 when everything ran, whatever it showed; 1 when something did not."""
    options = arguments(argv)
    chosen = plan.PLANS[options.plan]
    if options.rounds is not None:
        chosen = chosen.with_at_most(options.rounds)
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="moorage-bench-", dir=options.storage) as name:
        folder = Path(name)
        results = Results(
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            machine=machine(folder),
            versions=versions(),
            options={
                "plan": options.plan,
                "logs": "level error, no access log" if options.quiet_logs else "level info, access log",
            },
        )

        def chosen_of(operations: list[Operation]) -> list[Operation]:
            return plan.selected(operations, options.only, options.skip)

        _measure(chosen, folder, results, chosen_of, quiet=options.quiet_logs, until=until)
    if not results.rows and not results.failures:
        print("No operation has these words.", file=sys.stderr)
        return 1
    print(f"\n{tables(results)}")
    if options.json:
        results.write(options.json)
    return 1 if results.failures else 0


def _measure(
    chosen: plan.Plan,
    folder: Path,
    results: Results,
    chosen_of: Callable[[list[Operation]], list[Operation]],
    *,
    quiet: bool,
    until: float,
) -> None:
    """Measure over growing trees, one for both registries, with a tree for each, and with a webhook."""
    for count in chosen.growth:
        operations = chosen_of(plan.operations_on(chosen, count))
        if operations:
            tree = folder / f"tree-{count}"
            plant(tree, count)
            os.sync()
            with both(folder / f"registries-{count}", quiet=quiet, root=tree) as registries:
                rounds(operations, registries, results, until=until, report=_say)
            shutil.rmtree(tree)
    with ExitStack() as stack:
        workshop = Workshop(folder / "workshop", chosen.layers)
        stack.callback(workshop.close)
        operations = chosen_of(plan.operations(chosen, workshop))
        if operations:
            registries = stack.enter_context(both(folder / "registries", quiet=quiet))
            rounds(operations, registries, results, until=until, report=_say)

    with ExitStack() as stack:
        hook = stack.enter_context(subscribing())
        for name, batch, sync, operations in (
            ("each", 1, "0s", event_operations(chosen.events, hook, chosen.request_seconds)),
            ("batched", BATCH, "0s", batched_operations(chosen.events, hook, synced=True)),
            ("lazily", BATCH, SYNC_INTERVAL, batched_operations(chosen.events, hook, synced=False)),
        ):
            operations = chosen_of(operations)
            if operations:
                further = notifications(hook, batch, sync)
                with both(folder / f"telling-{name}", quiet=quiet, further=further) as registries:
                    rounds(operations, registries, results, until=until, report=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def _end(number: int, _frame: FrameType | None) -> None:
    """End as after an error, so that the registries stop and their storage goes."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
