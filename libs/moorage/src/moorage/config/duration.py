"""Durations as Go writes them: `10s`, `1h30m`, `1.5h`, `100ms`.

Source: the grammar of Go's `time.ParseDuration`, which distribution's configuration uses. In Moorage a
duration is a float of seconds.
"""

from __future__ import annotations

import re
from fractions import Fraction

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,  # micro sign
    "\u03bcs": 10**3,  # Greek letter mu
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_UNITS = "|".join(sorted(_NANOSECONDS, key=len, reverse=True))
_PART = re.compile(rf"(\d+\.?\d*|\.\d+)({_UNITS})", re.ASCII)
_WHOLE = re.compile(rf"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:{_UNITS}))+)", re.ASCII)

# Go keeps a duration in a signed 64-bit count of nanoseconds.
_LONGEST = 2**63 - 1


def parse_duration(value: str | int) -> float:
    """The seconds that a Go duration string, or a bare integer of nanoseconds, stands for.

    Fractions of a nanosecond are cut off, as in Go. Raises ValueError for anything else, and for what does
    not fit in 64 bits of nanoseconds (about 292 years).
    """
    if isinstance(value, int):
        nanoseconds = value
    else:
        if _WHOLE.fullmatch(value) is None:
            raise ValueError(f"not a duration: {value!r}")
        nanoseconds = sum(int(Fraction(number) * _NANOSECONDS[unit]) for number, unit in _PART.findall(value))
        if value.startswith("-"):
            nanoseconds = -nanoseconds
    if abs(nanoseconds) > _LONGEST:
        raise ValueError(f"too long a duration: {value!r}")
    return nanoseconds / 10**9


def format_duration(seconds: float) -> str:
    """Seconds as Go's `Duration.String` writes them: `1.5ms`, `2m30s`, `1h0m0s`; for `parse_duration`."""
    nanoseconds = round(seconds * 10**9)
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left == 0:
        return "0s"
    for unit in ("ns", "\u00b5s", "ms"):
        if left < 1000 * _NANOSECONDS[unit]:
            return f"{sign}{_decimal(left, _NANOSECONDS[unit])}{unit}"
    minutes, rest = divmod(left, _NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, _NANOSECONDS['s'])}s"
    if hours:
        text = f"{hours}h{minutes}m{text}"
    elif minutes:
        text = f"{minutes}m{text}"
    return sign + text


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    digits = f"{fraction:0{len(str(unit)) - 1}d}".rstrip("0") if fraction else ""
    return f"{whole}.{digits}" if digits else str(whole)
