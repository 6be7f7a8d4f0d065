"""Results as tables: Markdown that reads well in a terminal too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.operations.growth import AMONG
from bench.registries import MOORAGE, PEER
from bench.results import Results, Row, Run
from bench.summary import MIB, Figures, compare, ratio

_UNKNOWN = "\N{EN DASH}"
_TIMES = "\N{MULTIPLICATION SIGN}"

GROUPS = {
    "requests": "Requests",
    "pull": "Pulls",
    "push": "Pushes",
    "memory": "Memory under load",
    "images": "Small images",
    "events": "With a webhook",
    "commands": "Whole commands",
    "growth": "Growth",
}


@dataclass(frozen=True)
class Measure:
    """A column for each registry and, when it compares them, one for the ratio."""

    title: str
    value: Callable[[Figures], float | None]
    more_is_better: bool = False
    with_ratio: bool = True


RATE = Measure("per second", lambda figures: figures.rate, more_is_better=True)
THROUGHPUT = Measure("MB/s", lambda figures: figures.mb_per_second, more_is_better=True)
SECONDS = Measure("seconds", lambda figures: figures.seconds)
LATENCY = Measure("ms", lambda figures: 1000 * figures.seconds)
TAIL = Measure("p99 ms", lambda figures: figures.p99_ms, with_ratio=False)
CPU_EACH = Measure("CPU-ms each", lambda figures: figures.cpu_ms_per_request)
CPU_PER_GIB = Measure("CPU-s/GiB", lambda figures: figures.cpu_seconds_per_gib)
CPU_SECONDS = Measure("CPU-s", lambda figures: figures.cpu_seconds_per_request)
PEAK = Measure("peak MiB", lambda figures: figures.peak / MIB)

MEASURES: dict[str, tuple[Measure, ...]] = {
    "requests": (RATE, CPU_EACH, TAIL, PEAK),
    "pull": (THROUGHPUT, CPU_PER_GIB, PEAK),
    "push": (THROUGHPUT, CPU_PER_GIB, PEAK),
    "memory": (THROUGHPUT, CPU_PER_GIB, PEAK),
    "images": (RATE, CPU_EACH, TAIL, PEAK),
    "events": (RATE, CPU_EACH, TAIL, PEAK),
    "commands": (SECONDS, CPU_SECONDS, PEAK),
    "growth": (LATENCY, CPU_EACH, PEAK),
}


def number(value: float | None) -> str:
    """A number with three digits that count, and spaces between thousands."""
    if value is None:
        return _UNKNOWN
    if value and abs(value) < 100:
        digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
        return f"{value:.{digits}f}"
    return f"{value:,.0f}".replace(",", " ")


def times(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{number(value)}{_TIMES}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]], *, names: int = 1) -> str:
    """A Markdown table whose first `names` columns are text, the others numbers."""
    cells = [list(head), *map(list, lines)]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(head))]

    def row(line: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if column < names else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([row(head), row(rule), *(row(line) for line in cells[1:])])


def comparison(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    """Each operation in a line: the medians of Moorage, of docker-registry, and the ratio."""
    head = ["operation", "at once"]
    for measure in measures:
        head += [f"{measure.title}, Moorage", PEER] + ["ratio"] * measure.with_ratio
    lines = []
    for row in rows:
        ours, theirs = compare(row, MOORAGE, PEER)
        line = [grouped(row.name), str(row.concurrency)]
        for measure in measures:
            values = [measure.value(figures) if figures else None for figures in (ours, theirs)]
            line += [number(values[0]), number(values[1])] + [times(ratio(*values))] * measure.with_ratio
        lines.append(line)
    return table(head, lines)


def memory(rows: Sequence[Row]) -> str:
    """What each of Moorage's services held before and at most; MiB.

    Idle is what it held before the first of the operations, when it had just been started.
    """
    head = ["service", "idle MiB"]
    runs: list[Run] = []
    for row in rows:
        mine = row.of(MOORAGE)
        if mine:
            runs.append(mine[0])
            head += [f"{row.name}, {row.concurrency} at once", "more than idle"]
    if not runs:
        return ""
    idle = {part.part: part.idle for part in runs[0].memory}
    lines = []
    for part, before in idle.items():
        line = [part, number(before / MIB)]
        for run in runs:
            peak = next((memory.peak for memory in run.memory if memory.part == part), None)
            line += (
                [number(peak / MIB), number((peak - before) / MIB)]
                if peak is not None
                else [_UNKNOWN, _UNKNOWN]
            )
        lines.append(line)
    return table(head, lines)


def group_table(results: Results, group: str) -> str:
    """The table of a group of operations; empty when nothing of it was measured."""
    rows = [row for row in results.rows if row.group == group]
    return comparison(rows, MEASURES[group]) if rows else ""


def memory_table(results: Results) -> str:
    return memory([row for row in results.rows if row.group == "memory"])


def tables(results: Results) -> str:
    """All tables, each under its title."""
    parts = [
        f"{title}\n\n{group_table(results, group)}"
        for group, title in GROUPS.items()
        if group_table(results, group)
    ]
    if memory_table(results):
        parts.append(f"Memory of each service\n\n{memory_table(results)}")
    return "\n\n".join(parts)


def behind(results: Results) -> list[str]:
    """Where Moorage is slower than docker-registry or takes more of a processor: a sentence for each."""
    sentences = []
    for row in sorted(results.rows, key=lambda row: list(GROUPS).index(row.group)):
        ours, theirs = compare(row, MOORAGE, PEER)
        if ours is None or theirs is None:
            continue
        speed, cpu = MEASURES[row.group][:2]
        faults = []
        for measure, words in ((speed, "the speed"), (cpu, "the processor time")):
            found = ratio(measure.value(ours), measure.value(theirs))
            if found is None:
                continue
            if measure is SECONDS or measure is LATENCY:
                words = "the time"
            if (found < 1) if measure.more_is_better else (found > 1):
                faults.append(f"{times(found)} {words}")
        if faults:
            sentences.append(f"{grouped(row.name)}, {row.concurrency} at once: {' and '.join(faults)}.")
    return sentences


def grouped(name: str) -> str:
    """An operation's name with its number of tags or repositories in groups of three digits."""
    what, among, count = name.partition(AMONG)
    return f"{what}{among}{number(int(count))}" if among and int(count) >= 100 else name
