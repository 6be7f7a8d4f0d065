"""Durations and sizes as a configuration writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.config import parse_duration, parse_size
from moorage.config.duration import format_duration

UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("100ms", 0.1),
        ("168h", 604800.0),
        ("2h10m", 7800.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("0", 0.0),
        ("+5s", 5.0),
        ("-1m", -60.0),
        ("1us", 1e-6),
        ("1\u00b5s", 1e-6),
        ("1\u03bcs", 1e-6),
        ("1ns", 1e-9),
        ("1h1h", 7200.0),
        ("0.3ns", 0.0),
        ("9223372036854775807ns", (2**63 - 1) / 10**9),
        (1_000_000_000, 1.0),
        (0, 0.0),
    ],
)
def test_a_duration_is_what_go_makes_of_it(text: str | int, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "10",
        "1.5",
        "s",
        ".",
        ".s",
        "10 s",
        " 10s",
        "10S",
        "1d",
        "1e3s",
        "--1s",
        "10s\n",
        "\u0661s",
    ],
)
def test_what_go_refuses_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("value", ["9223372036854775808ns", "2562048h", 2**63])
def test_a_duration_that_go_cannot_hold_is_refused(value: str | int) -> None:
    with pytest.raises(ValueError, match="too long a duration"):
        parse_duration(value)


@given(
    st.lists(
        st.tuples(
            st.decimals(min_value=0, max_value=10_000, places=3, allow_nan=False),
            st.sampled_from(sorted(UNITS)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_duration_is_the_sum_of_its_parts_cut_to_nanoseconds(parts: list[tuple[object, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    expected = sum(int(Fraction(str(number)) * UNITS[unit]) for number, unit in parts)
    assert parse_duration(text) == expected / 10**9


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert isinstance(seconds, float)
    assert any(character.isdigit() for character in text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4MiB", 4 * 2**20),
        ("4mib", 4 * 2**20),
        ("10 GB", 10**10),
        ("1.5KiB", 1536),
        ("1kB", 1000),
        ("0", 0),
        ("12B", 12),
        (4194304, 4194304),
    ],
)
def test_a_size_is_bytes_or_a_number_with_a_unit(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "4M", "-1", "-1MiB", "1.5", "0.3KiB", "4 MiB MiB", "1e3"])
def test_what_has_no_unit_or_no_whole_bytes_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a (size|whole number of bytes)"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5\u00b5s"),
        (0.001234567, "1.234567ms"),
        (0.5, "500ms"),
        (1.0, "1s"),
        (1.05, "1.05s"),
        (90.0, "1m30s"),
        (3600.0, "1h0m0s"),
        (172800.0, "48h0m0s"),
        (-1.5, "-1.5s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert parse_duration(text) == pytest.approx(seconds)
