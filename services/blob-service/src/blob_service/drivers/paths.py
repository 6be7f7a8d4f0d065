"""The grammar of driver paths, checked before a path reaches any backend.

Source: distribution's `registry/storage/driver`, PathRegexp. The components `.` and `..`, which its pattern
lets through, are refused here as well: no path leaves the backend's root.
"""

from __future__ import annotations

import re

from blob_service.drivers.errors import InvalidPathError

ROOT = "/"

_NAME = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+"
_NAME_PATTERN = re.compile(_NAME)
_FILE_PATTERN = re.compile(rf"(?:/{_NAME})+")
_RELATIVE_PATTERN = re.compile(rf"{_NAME}(?:/{_NAME})*")


def check_path(path: str) -> None:
    """Raise InvalidPathError unless `path` can be the path of a file."""
    if _FILE_PATTERN.fullmatch(path) is None:
        raise InvalidPathError(path)


def check_folder(path: str) -> None:
    """Raise InvalidPathError unless `path` can be the path of a folder: a file's, or `/`."""
    if path != ROOT:
        check_path(path)


def check_relative(path: str) -> None:
    """Raise InvalidPathError unless `path` is one or more names with slashes between them."""
    if _RELATIVE_PATTERN.fullmatch(path) is None:
        raise InvalidPathError(path)


def is_name(text: str) -> bool:
    """Whether `text` can be one component of a path."""
    return _NAME_PATTERN.fullmatch(text) is not None


def are_names(texts: list[str]) -> bool:
    """Whether each can be one component of a path. Cheaper than to ask for each by itself."""
    joined = "/".join(texts)
    return not texts or (
        joined.count("/") == len(texts) - 1 and _RELATIVE_PATTERN.fullmatch(joined) is not None
    )


def components(path: str) -> tuple[str, ...]:
    """The names that a checked path is made of, none for `/`. Tuples of them sort as a walk does."""
    return tuple(path[1:].split("/")) if path != ROOT else ()


def split(path: str) -> tuple[str, str]:
    """The folder that a checked path is in, and its name there."""
    folder, _, name = path.rpartition("/")
    return folder or ROOT, name


def join(folder: str, name: str) -> str:
    """The path of `name` (a name or a relative path) in a folder."""
    return f"/{name}" if folder == ROOT else f"{folder}/{name}"
