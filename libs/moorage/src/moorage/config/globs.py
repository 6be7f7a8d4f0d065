"""Globs over the names of repositories.

`*` and `?` stand for characters within one component, `**` for any number of components: `team/*` is
`team/app` and not `team/app/cache`, `team/**` is both, `**/cache` is `cache` and `team/app/cache`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator

from moorage.config.values import kind

# A repository's name is no longer.
_LONGEST = 255
_MOST_WILDCARDS = 8

_COMPONENT = re.compile(r"\*\*|(?:[a-z0-9._?-]|(?<!\*)\*(?!\*))+", re.ASCII)


@dataclass(frozen=True, slots=True)
class RepositoryGlob:
    """One glob. Two are equal when their texts are."""

    text: str
    _pattern: re.Pattern[str] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> RepositoryGlob:
        """Parse a glob; raises ValueError."""
        components = text.split("/")
        if len(text) > _LONGEST or not all(_COMPONENT.fullmatch(component) for component in components):
            raise ValueError(
                f"not a glob of repository names: {text[:_LONGEST]!r}; it is made of lower case letters, "
                "digits, '._-/', '*' and '?' within a component, and '**' as a whole component"
            )
        if text.count("*") > _MOST_WILDCARDS:
            raise ValueError(f"a glob may have at most {_MOST_WILDCARDS} '*': {text!r}")
        return cls(text, re.compile(_regular(components)))

    def matches(self, repository: str) -> bool:
        """Whether a repository's name is one of those that the glob stands for."""
        return self._pattern.fullmatch(repository) is not None


def _regular(components: list[str]) -> str:
    """The regular expression that says the same."""
    whole = ""
    for index, component in enumerate(components):
        last = index == len(components) - 1
        if component != "**":
            whole += _within(component) + ("" if last else "/")
        elif last:
            whole += ".+"
        else:
            whole += "(?:[^/]+/)*"
    return whole


def _within(component: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(each, re.escape(each)) for each in component)


def _glob(value: Any) -> RepositoryGlob:
    if isinstance(value, RepositoryGlob):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be a glob of repository names, not {kind(value)}")  # noqa: TRY004  pydantic's
    return RepositoryGlob.parse(value)


Glob = Annotated[RepositoryGlob, BeforeValidator(_glob)]
