from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bench import tables
from bench.measure import Memory
from bench.plots import Bars, bar_plot, line_panels
from bench.registries import MOORAGE, PEER
from bench.report import client_shares, document, plots
from bench.results import Results, Run

SVG = "{http://www.w3.org/2000/svg}"


def run(registry: str, seconds: float, cpu: float, *, requests: int = 100, size: int = 0) -> Run:
    memory = (Memory("blob", 10 << 20, 30 << 20), Memory("gateway", 20 << 20, 21 << 20))
    return Run(registry, 0, requests, size, seconds, cpu, seconds / 4, {}, memory)


@pytest.fixture
def results() -> Results:
    made = Results("2026-01-01", {"processor": "p"}, {"Moorage": "1"}, {"plan": "full", "logs": "none"})
    made.row("requests", "GET /v2/", 16).runs += [run(MOORAGE, 1, 0.1), run(PEER, 4, 0.4)]
    made.row("pull", "pull 1 GiB", 1).runs += [
        run(MOORAGE, 2, 3, requests=1, size=1 << 30),
        run(PEER, 1, 1, requests=1, size=1 << 30),
    ]
    for count, seconds in ((10, 1.0), (1000, 3.0)):
        row = made.row("growth", f"tags, first page among {count}", 1)
        row.runs += [run(MOORAGE, seconds, 0.5), run(PEER, seconds * 2, 1)]
    return made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (0, "0"),
        (0.12345, "0.123"),
        (1.2345, "1.23"),
        (12.345, "12.3"),
        (123.45, "123"),
        (1234567.8, "1 234 568"),
    ],
)
def test_a_number_has_three_digits_that_count(value: float | None, text: str) -> None:
    assert tables.number(value) == text


def test_a_table_aligns_its_columns() -> None:
    assert tables.table(["name", "n"], [["a", "1"], ["bcdef", "1000"]]).splitlines() == [
        "| name  |    n |",
        "| ----- | ---: |",
        "| a     |    1 |",
        "| bcdef | 1000 |",
    ]


def test_a_comparison_has_both_registries_and_their_ratio(results: Results) -> None:
    line = tables.group_table(results, "requests").splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:8] == [
        *["GET /v2/", "16"],
        *["100", "25.0", "4.00\N{MULTIPLICATION SIGN}"],
        *["1.00", "4.00", "0.250\N{MULTIPLICATION SIGN}"],
    ]


def test_a_registry_that_was_not_measured_leaves_gaps() -> None:
    made = Results("", {}, {}, {})
    made.row("pull", "pull 1 GiB", 1).runs.append(run(MOORAGE, 2, 3, requests=1, size=1 << 30))
    line = tables.group_table(made, "pull").splitlines()[2]
    assert line.count("\N{EN DASH}") == 6


def test_what_is_slower_or_dearer_is_named_and_nothing_else(results: Results) -> None:
    assert tables.behind(results) == [
        "pull 1 GiB, 1 at once: 0.500\N{MULTIPLICATION SIGN} the speed"
        " and 3.00\N{MULTIPLICATION SIGN} the processor time."
    ]


def test_the_memory_of_a_service_is_told_against_what_it_held_at_first() -> None:
    made = Results("", {}, {}, {})
    for name, idle, peak in (("push", 10, 30), ("pull", 25, 70)):
        memory = (Memory("blob", idle << 20, peak << 20),)
        made.row("memory", name, 8).runs.append(Run(MOORAGE, 0, 1, 1, 1, 1, 1, {}, memory))
    cells = [cell.strip() for cell in tables.memory_table(made).splitlines()[2].strip("|").split("|")]
    assert cells == ["blob", "10.0", "30.0", "20.0", "70.0", "60.0"]


def test_the_report_holds_every_table_and_says_what_was_not_measured(results: Results) -> None:
    text = document(results, None)
    assert tables.group_table(results, "requests") in text
    assert "tags, first page among 1 000" in text
    assert "Not measured in this run." in text
    assert "they took between 25% and 25% of one processor" in " ".join(text.split())
    assert client_shares(Results("", {}, {}, {})) == "an unknown part"


def test_bars_are_as_long_as_their_values() -> None:
    root = ElementTree.fromstring(
        bar_plot("a < b", ("one", "two"), [Bars("x & y", (50.0, 100.0)), Bars("z", (None, 25.0))])
    )
    legend_and_bars = [rect for rect in root.iter(f"{SVG}rect") if rect.get("fill", "").startswith("#")][3:]
    widths = [float(rect.get("width", "0")) for rect in legend_and_bars]
    assert widths[0] == pytest.approx(widths[1] / 2, rel=0.01)
    assert widths[2] == pytest.approx(widths[1] / 4, rel=0.01)
    assert "x & y" in [text.text for text in root.iter(f"{SVG}text")]


def test_equal_factors_are_equal_distances_in_a_panel() -> None:
    root = ElementTree.fromstring(
        line_panels("t", ("one", "two"), {"p": [[(10, 1), (100, 10), (1000, 100)], []]})
    )
    points = [(float(c.get("cx", "0")), float(c.get("cy", "0"))) for c in root.iter(f"{SVG}circle")]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    assert steps[0][0] > 0 > steps[0][1]


def test_a_run_without_growth_or_transfers_still_has_plots() -> None:
    for plot in plots(Results("", {}, {}, {})).values():
        ElementTree.fromstring(plot)
