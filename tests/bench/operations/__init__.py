"""What is measured. An operation does the same for either registry."""

from __future__ import annotations

from typing import Protocol

from bench.clients.work import Work
from bench.registries import Registry


class Operation(Protocol):
    """Some work, measured as often as `rounds` says."""

    @property
    def group(self) -> str:
        """The table that it belongs to."""

    @property
    def name(self) -> str: ...

    @property
    def concurrency(self) -> int:
        """How many clients at once."""

    @property
    def rounds(self) -> int: ...

    def prepare(self, registry: Registry) -> None:
        """Bring about what `work` needs; not measured."""

    def work(self, registry: Registry) -> Work:
        """Do it; raises WrongAnswerError when an answer is not as it must be."""

    def clean(self, registry: Registry) -> None:
        """Remove what `work` left; not measured."""
