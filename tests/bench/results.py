"""What a benchmark found, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Memory

# Of the JSON; it changes when older results can no longer be read.
FORMAT = 1


@dataclass(frozen=True)
class Run:
    """One operation, once, by one registry."""

    registry: str
    round: int
    requests: int
    bytes: int
    seconds: float
    cpu_seconds: float
    client_cpu_seconds: float
    latency_ms: Mapping[str, float]
    memory: tuple[Memory, ...]


@dataclass
class Row:
    """One operation and its runs, by either registry."""

    group: str
    name: str
    concurrency: int
    runs: list[Run] = field(default_factory=list)

    def of(self, registry: str) -> list[Run]:
        return [run for run in self.runs if run.registry == registry]


@dataclass
class Results:
    """A whole benchmark: where it ran, with which options, what it found, and what did not work."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    options: Mapping[str, str]
    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def row(self, group: str, name: str, concurrency: int) -> Row:
        """The row of an operation, made when it is not there yet."""
        for row in self.rows:
            if (row.group, row.name, row.concurrency) == (group, name, concurrency):
                return row
        self.rows.append(Row(group, name, concurrency))
        return self.rows[-1]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")


def read(path: Path) -> Results:
    """The results that `Results.write` wrote; raises ValueError when they are of another format."""
    document: dict[str, Any] = json.loads(path.read_text())
    if document.pop("format", None) != FORMAT:
        raise ValueError(f"{path}: not results of format {FORMAT}")
    rows = [
        Row(
            **{
                **row,
                "runs": [
                    Run(**{**run, "memory": tuple(Memory(**memory) for memory in run["memory"])})
                    for run in row["runs"]
                ],
            }
        )
        for row in document.pop("rows")
    ]
    return Results(**document, rows=rows)
