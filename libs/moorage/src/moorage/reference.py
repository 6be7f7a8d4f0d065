"""The grammar of repository names, tags and references, which become storage paths and URLs.

Source: the grammar of distribution's `reference` package; OCI distribution specification 1.1, "Pulling
manifests". ASCII only; nothing outside this grammar reaches storage.
"""

from __future__ import annotations

import re

from moorage.digest import Digest

NAME_MAX_LENGTH = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
NAME_PATTERN = rf"{_COMPONENT}(?:/{_COMPONENT})*"
TAG_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"

_NAME = re.compile(NAME_PATTERN, re.ASCII)
_TAG = re.compile(TAG_PATTERN, re.ASCII)


class InvalidReferenceError(ValueError):
    """The text is not a repository name, a tag or a reference."""


def parse_name(text: str) -> str:
    """A repository name (1 to 255 characters), as it is; raises InvalidReferenceError."""
    if len(text) > NAME_MAX_LENGTH:
        raise InvalidReferenceError(f"repository name must not be more than {NAME_MAX_LENGTH} characters")
    if _NAME.fullmatch(text) is None:
        raise InvalidReferenceError(f"invalid repository name: {text!r}")
    return text


def parse_tag(text: str) -> str:
    """A tag (1 to 128 characters), as it is; raises InvalidReferenceError."""
    if _TAG.fullmatch(text) is None:
        raise InvalidReferenceError(f"invalid tag: {text[:160]!r}")
    return text


def parse_reference(text: str) -> Digest | str:
    """A digest when the text holds a colon, a tag otherwise.

    Raises InvalidDigestError or InvalidReferenceError.
    """
    if ":" in text:
        return Digest.parse(text)
    return parse_tag(text)


def name_sort_key(name: str) -> tuple[str, ...]:
    """Sort key of the catalog's order: path-wise, so that `a/b` comes before `a-b`."""
    return tuple(name.split("/"))
