"""Header fields as they come off the wire and as they go out: pairs of bytes, names in lower case.

Source: RFC 9110, section 5 (fields); ASGI, "HTTP connection scope".
"""

from __future__ import annotations

from collections.abc import Iterable

# A response's fields, in order; a name may stand there several times.
HeaderList = list[tuple[bytes, bytes]]


class Headers:
    """A request's fields. Names are given in lower case; values are decoded as Latin-1, as HTTP has them."""

    __slots__ = ("_first", "_raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        first: dict[bytes, bytes] = {}
        for name, value in raw:
            if name not in first:
                first[name] = value
        self._first = first

    def get(self, name: bytes) -> str | None:
        """The value of the first line of that name; None when there is none."""
        value = self._first.get(name)
        return None if value is None else value.decode("latin-1")

    def lines(self, name: bytes) -> list[str]:
        """The values of all lines of that name, in order."""
        if name not in self._first:
            return []
        return [value.decode("latin-1") for key, value in self._raw if key == name]

    def __contains__(self, name: bytes) -> bool:
        return name in self._first


def elements(lines: Iterable[str]) -> list[str]:
    """The elements of a comma-separated list that may stretch over several lines, without empty ones.

    Only for lists whose elements hold no quoted commas, such as media types and addresses.
    """
    return [element for line in lines for part in line.split(",") if (element := part.strip())]


def media_type(value: str) -> str:
    """A Content-Type or Accept element without its parameters, in lower case."""
    return value.partition(";")[0].strip().lower()


def field(name: bytes, value: str) -> tuple[bytes, bytes]:
    """One field of a response."""
    return name, value.encode("latin-1")
