"""Plots as SVG, written by hand: bars beside each other, and panels of lines on two logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLOURS = ("#2563eb", "#a8a29e")
_INK = "#292524"
_RULE = "#e7e5e4"
_WIDTH = 760

Point = tuple[float, float]


@dataclass(frozen=True)
class Bars:
    """What one line of a bar plot shows, a value for each series; None where nothing was measured."""

    label: str
    values: tuple[float | None, ...]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{_INK}">'
        f"{escape(text)}</text>"
    )


def _document(height: float, title: str, series: Sequence[str], parts: Sequence[str]) -> str:
    """An SVG with a title and a legend above `parts`."""
    legend = []
    for index, name in enumerate(series):
        x = _WIDTH - 150 * (len(series) - index)
        legend.append(f'<rect x="{x}" y="16" width="12" height="12" fill="{_COLOURS[index]}"/>')
        legend.append(_text(x + 18, 27, name))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}"'
            ' font-family="sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
            _text(16, 28, title, size=15),
            *legend,
            *parts,
            "</svg>\n",
        ]
    )


def _short(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"


def bar_plot(title: str, series: Sequence[str], rows: Sequence[Bars]) -> str:
    """Horizontal bars, a group for each row, all on one scale that starts at nothing."""
    left, top, bar, gap = 250, 48, 13, 10
    room = _WIDTH - left - 80
    most = max((value for row in rows for value in row.values if value), default=1.0)
    parts = []
    y = float(top)
    for row in rows:
        parts.append(_text(left - 8, y + bar * len(row.values) / 2 + 4, row.label, anchor="end"))
        for index, value in enumerate(row.values):
            if value is not None:
                width = room * value / most
                parts.append(
                    f'<rect x="{left}" y="{y:.1f}" width="{width:.1f}" height="{bar - 2}"'
                    f' fill="{_COLOURS[index]}"/>'
                )
                parts.append(_text(left + width + 5, y + bar - 3, _short(value), size=10))
            y += bar
        y += gap
    return _document(y + 6, title, series, parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that enclose the values, at least one apart."""
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def line_panels(title: str, series: Sequence[str], panels: Mapping[str, Sequence[Sequence[Point]]]) -> str:
    """A small plot for each entry: its points, one sequence for each series, all panels on the same axes."""
    points = [point for lines in panels.values() for line in lines for point in line]
    if not points:
        return _document(60, title, series, [])
    x_axis, y_axis = _decades([x for x, _ in points]), _decades([y for _, y in points])
    columns, left, top, width, height = 3, 46, 74, 196, 130
    parts = []
    for number, (name, lines) in enumerate(panels.items()):
        x0 = left + (number % columns) * (width + 46)
        y0 = top + (number // columns) * (height + 58)

        def place(point: Point, x0: float = x0, y0: float = y0) -> Point:
            across = (math.log10(point[0]) - x_axis[0]) / (x_axis[1] - x_axis[0])
            up = (math.log10(point[1]) - y_axis[0]) / (y_axis[1] - y_axis[0])
            return x0 + width * across, y0 + height * (1 - up)

        parts.append(_text(x0, y0 - 8, name))
        for power in range(y_axis[0], y_axis[1] + 1):
            y = place((10.0 ** x_axis[0], 10.0**power))[1]
            parts.append(f'<path d="M{x0} {y:.1f}h{width}" stroke="{_RULE}"/>')
            parts.append(_text(x0 - 5, y + 4, f"{10.0**power:g}", anchor="end", size=10))
        for power in range(x_axis[0], x_axis[1] + 1):
            x = place((10.0**power, 10.0 ** y_axis[0]))[0]
            parts.append(_text(x, y0 + height + 14, _short(10.0**power), anchor="middle", size=10))
        for index, line in enumerate(lines):
            placed = [place(point) for point in line]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{_COLOURS[index]}" stroke-width="2"/>'
            )
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[index]}"/>' for x, y in placed
            ]
    rows = math.ceil(len(panels) / columns)
    return _document(top + rows * (height + 58) - 26, title, series, parts)
