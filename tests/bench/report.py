"""`python -m bench.report`: make docs/performance.md and its plots of what a benchmark found."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

from bench import tables
from bench.operations.growth import AMONG
from bench.plots import Bars, bar_plot, line_panels
from bench.registries import MOORAGE, PEER
from bench.results import Results, Row, read
from bench.summary import compare, figures

_TEMPLATE = Path(__file__).with_name("performance.md.template")
_DOCS = Path(__file__).parents[2] / "docs"
_SERIES = ("Moorage", PEER)
_NOT_MEASURED = "Not measured in this run."
RESULTS = "performance/results.json"
QUIET_RESULTS = "performance/results-quiet-logs.json"


def document(results: Results, quiet: Results | None) -> str:
    """The whole of docs/performance.md."""
    values = {group: tables.group_table(results, group) or _NOT_MEASURED for group in tables.GROUPS}
    facts = {**results.machine, **results.versions, "logs": results.options["logs"]}
    behind = tables.behind(results)
    return Template(_TEMPLATE.read_text()).substitute(
        values,
        date=results.date,
        plan=results.options["plan"],
        rounds=max((run.round + 1 for row in results.rows for run in row.runs), default=0),
        facts=tables.table(["of", "this"], [[name, value] for name, value in facts.items()], names=2),
        services=tables.memory_table(results) or _NOT_MEASURED,
        quiet=(tables.group_table(quiet, "requests") if quiet else "") or _NOT_MEASURED,
        quiet_of=f", on {quiet.date} with Moorage {quiet.versions['Moorage']}" if quiet else "",
        behind="\n".join(f"- {line}" for line in behind) or "Nowhere in this run.",
        failures="\n".join(f"- {line}" for line in results.failures) or "None.",
        client=client_shares(results),
    )


def client_shares(results: Results) -> str:
    """The smallest and the largest part of a processor that the clients of requests and blobs took."""
    shares = [
        found.client_share
        for row in results.rows
        if row.group in ("requests", "pull", "push")
        for found in compare(row, MOORAGE, PEER)
        if found
    ]
    if not shares:
        return "an unknown part"
    return f"between {min(shares):.0%} and {max(shares):.0%}"


def plots(results: Results) -> dict[str, str]:
    """The plots, by the names of their files."""
    transfers = _rows(results, "pull", "push")
    return {
        "requests.svg": _bars("Requests per second", _rows(results, "requests"), tables.RATE),
        "requests-cpu.svg": _bars(
            "Processor time of a request, ms", _rows(results, "requests"), tables.CPU_EACH
        ),
        "transfers.svg": _bars("Pulls and pushes, MB/s", transfers, tables.THROUGHPUT),
        "transfers-cpu.svg": _bars("Processor time of a GiB, seconds", transfers, tables.CPU_PER_GIB),
        "growth.svg": _growth(_rows(results, "growth")),
    }


def _rows(results: Results, *groups: str) -> list[Row]:
    return [row for row in results.rows if row.group in groups]


def _bars(title: str, rows: Sequence[Row], measure: tables.Measure) -> str:
    bars = []
    for row in rows:
        found = compare(row, MOORAGE, PEER)
        values = tuple(measure.value(one) if one else None for one in found)
        bars.append(Bars(f"{row.name}, {row.concurrency} at once", values))
    return bar_plot(title, _SERIES, bars)


def _growth(rows: Sequence[Row]) -> str:
    """Milliseconds of an answer over the number of tags and repositories, a panel for each operation."""
    panels: dict[str, list[list[tuple[float, float]]]] = {}
    for row in rows:
        what, _, count = row.name.partition(AMONG)
        lines = panels.setdefault(what, [[], []])
        for line, registry in zip(lines, (MOORAGE, PEER), strict=True):
            found = figures(row.of(registry))
            if found:
                line.append((float(count), 1000 * found.seconds))
    return line_panels("Milliseconds of an answer, by tags or repositories", _SERIES, panels)


def write(docs: Path, results: Results, quiet: Results | None) -> None:
    """Write the document, its plots, and the results that they come from."""
    (docs / "performance").mkdir(parents=True, exist_ok=True)
    (docs / "performance.md").write_text(document(results, quiet))
    for name, plot in plots(results).items():
        (docs / "performance" / name).write_text(plot)
    results.write(docs / RESULTS)
    if quiet:
        quiet.write(docs / QUIET_RESULTS)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.report", description=__doc__)
    parser.add_argument("results", type=Path, help="what `python -m bench --json` wrote")
    parser.add_argument(
        "--quiet-logs", type=Path, metavar="RESULTS", help="the same of a run with --quiet-logs"
    )
    parser.add_argument("--docs", type=Path, default=_DOCS, metavar="FOLDER", help="default: %(default)s")
    options = parser.parse_args(argv)
    write(options.docs, read(options.results), read(options.quiet_logs) if options.quiet_logs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
