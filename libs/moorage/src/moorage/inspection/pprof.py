"""Profiles as `go tool pprof` reads them: gzipped protobuf.

Source: github.com/google/pprof, doc/README.md.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moorage.v1 import pprof_pb2


@dataclass(frozen=True, slots=True)
class Frame:
    """One function on a stack, and the line in it."""

    function: str
    file: str
    first_line: int
    line: int


class ProfileWriter:
    """Collects stacks with their values; `types` names the values and their units."""

    def __init__(self, types: Sequence[tuple[str, str]], *, seconds: float, period: int = 0) -> None:
        self._profile = pprof_pb2.Profile(
            time_nanos=time.time_ns() - int(seconds * 1e9), duration_nanos=int(seconds * 1e9), period=period
        )
        self._texts: dict[str, int] = {}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[Frame, int] = {}
        self._text("")
        for name, unit in types:
            self._profile.sample_type.add(type=self._text(name), unit=self._text(unit))
        self._profile.period_type.CopyFrom(self._profile.sample_type[-1])

    def add(self, stack: Iterable[Frame], values: Sequence[int]) -> None:
        """Add one stack, the innermost frame first, with a value for each type."""
        self._profile.sample.add(location_id=[self._location(frame) for frame in stack], value=values)

    def written(self) -> bytes:
        """The whole profile."""
        content: bytes = self._profile.SerializeToString()
        return gzip.compress(content, mtime=0)

    def _text(self, text: str) -> int:
        index = self._texts.get(text)
        if index is None:
            index = self._texts[text] = len(self._texts)
            self._profile.string_table.append(text)
        return index

    def _location(self, frame: Frame) -> int:
        identity = self._locations.get(frame)
        if identity is None:
            identity = self._locations[frame] = len(self._locations) + 1
            location = self._profile.location.add(id=identity)
            location.line.add(function_id=self._function(frame), line=frame.line)
        return identity

    def _function(self, frame: Frame) -> int:
        key = (frame.function, frame.file)
        identity = self._functions.get(key)
        if identity is None:
            identity = self._functions[key] = len(self._functions) + 1
            name = self._text(frame.function)
            self._profile.function.add(
                id=identity,
                name=name,
                system_name=name,
                filename=self._text(frame.file),
                start_line=frame.first_line,
            )
        return identity
