"""Sizes: a count of bytes, or a number with a unit (`4MiB`, `10GB`)."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)


def parse_size(value: str | int) -> int:
    """The bytes that a size stands for. Units are powers of 1000 (kB) or 1024 (KiB), in any case of letters.

    Raises ValueError for anything else, and for a size that is not a whole number of bytes.
    """
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"not a size: {str(value)!r}")
    size = Fraction(match[1]) * _UNITS[match[2].lower()]
    if size.denominator != 1:
        raise ValueError(f"not a whole number of bytes: {str(value)!r}")
    return int(size)
