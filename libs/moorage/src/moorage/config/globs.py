"""Globs as values of the configuration."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator

from moorage.config.values import Text, as_list
from moorage.globs import parse_glob

_T = TypeVar("_T")

Glob = Annotated[Text, AfterValidator(parse_glob)]


def at_least_one(value: tuple[_T, ...]) -> tuple[_T, ...]:
    """A validator that takes a list that holds something."""
    if not value:
        raise ValueError("must hold at least one entry")
    return value


Globs = Annotated[tuple[Glob, ...], BeforeValidator(as_list), AfterValidator(at_least_one)]
