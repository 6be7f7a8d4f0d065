"""The one error that a configuration can raise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the dotted key and a sentence about it. `str()` is one line."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class ConfigurationError(Exception):
    """The configuration cannot be used.

    `str()` is one line, `<key>: <message>`, about the first problem in the document's order. `problems`
    holds all of them in that order. Messages never hold a secret's value.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(key, message)
        self.problems: tuple[Problem, ...] = (Problem(key, message),)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> ConfigurationError:
        """An error about several problems (at least one), given in the document's order."""
        listed = tuple(problems)
        error = cls(listed[0].key, listed[0].message)
        error.problems = listed
        return error

    @property
    def key(self) -> str:
        """The dotted key of the first problem (a file's path when the file itself is the problem)."""
        return self.problems[0].key

    @property
    def message(self) -> str:
        """The first problem's sentence, without its key."""
        return self.problems[0].message

    def __str__(self) -> str:
        return str(self.problems[0])
