"""How an attempt ended."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Outcome:
    """The status that the endpoint answered with, or why there was none."""

    status: int | None = None
    reason: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the endpoint has the events: 2xx and 3xx, as in distribution."""
        return self.status is not None and 200 <= self.status < 400

    @property
    def code(self) -> str:
        """The status as metrics have it: `202 Accepted`."""
        if self.status is None:
            return ""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} "

    def __str__(self) -> str:
        return self.reason or self.code
