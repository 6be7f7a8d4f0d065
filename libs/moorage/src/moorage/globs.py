"""Globs over repository names and tags, as access rules and policies are written with them.

    *    any characters but "/"
    **   any characters, "/" among them
    ?    one character but "/"

Everything else stands for itself, and a glob has to match the whole text. `team/**` is what is below `team`
and not `team` itself; `**` is everything. There is no way to write an exception.
"""

from __future__ import annotations

import re
from functools import lru_cache

MOST_CHARACTERS = 255

# A name is tried against a glob within a time that grows with the power of its wildcards.
MOST_WILDCARDS = 8

# What may stand in a name or a tag besides the signs of a glob; upper case is for tags.
_WRITTEN = re.compile(r"[A-Za-z0-9._/*?-]+", re.ASCII)
_STARS = re.compile(r"\*+")
_SIGN = re.compile(r"(\*+|\?)")
_MEANING = {"*": "[^/]*", "**": ".*", "?": "[^/]"}

EVERYTHING = "**"


class InvalidGlobError(ValueError):
    """The text is not a glob."""


def parse_glob(text: str) -> str:
    """The glob, as it is; raises InvalidGlobError with what is wrong."""
    if not text:
        raise InvalidGlobError("a glob must not be empty; '**' matches everything")
    if len(text) > MOST_CHARACTERS:
        raise InvalidGlobError(f"a glob must not be more than {MOST_CHARACTERS} characters")
    if _WRITTEN.fullmatch(text) is None:
        raise InvalidGlobError(
            f"not a glob: {text!r}: letters, digits, '._-/', and the signs '*', '**' and '?'"
        )
    if "***" in text:
        raise InvalidGlobError(f"not a glob: {text!r}: '*' and '**' are all the stars there are")
    if len(_STARS.findall(text)) > MOST_WILDCARDS:
        raise InvalidGlobError(f"a glob must not have more than {MOST_WILDCARDS} '*' or '**': {text!r}")
    return text


def matches(glob: str, text: str) -> bool:
    """Whether the whole text is one that the glob (from `parse_glob`) stands for."""
    return _compiled(glob).fullmatch(text) is not None


def is_literal(glob: str) -> bool:
    """Whether the glob stands for one text alone, itself."""
    return _SIGN.search(glob) is None


@lru_cache(4096)
def _compiled(glob: str) -> re.Pattern[str]:
    pieces = _SIGN.split(glob)
    expression = "".join(
        _MEANING[piece] if index % 2 else re.escape(piece) for index, piece in enumerate(pieces)
    )
    return re.compile(expression, re.DOTALL)
