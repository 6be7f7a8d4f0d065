"""The file: a line `user:hash` for each user, with bcrypt hashes only.

Source: Apache's htpasswd; distribution's `registry/auth/htpasswd`.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import structlog

from api_gateway.newfile import write_new
from moorage.config import ConfigurationError

KEY = "auth.htpasswd.path"

# The user that a missing file is made with; distribution's.
_DEFAULT_USER = "docker"

# Source: crypt(5). A cost above 17 takes longer than clients wait.
_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}")

# What the users of an empty file have.
_USUAL_COST = b"10"

# A salt and a hash of nothing in particular.
_NOBODY = b"$" + b"." * 21 + b"u" + b"." * 31

log = structlog.get_logger("api_gateway.access")


@dataclass(frozen=True, slots=True)
class Users:
    """What a file holds."""

    hashes: Mapping[bytes, bytes] = field(repr=False)
    """The bcrypt hash of each user, as the file has it."""

    unusable: tuple[str, ...]
    """Users whose hash is not bcrypt, or costs too much: they cannot come in."""

    nobody: bytes = field(repr=False)
    """A hash that costs what the users' mostly do, to be compared for who is not among them."""


def load_users(path: str, key: str = KEY) -> Users:
    """Read the file that a key of the configuration names. Raises ConfigurationError."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(key, f"{path}: {error.strerror}") from error
    try:
        users = parse_users(content)
    except ValueError as error:
        raise ConfigurationError(key, f"{path}: {error}") from error
    if users.unusable:
        log.warning(
            "users of the htpasswd file cannot log in: their hashes are not bcrypt of cost 4 to 17",
            users=", ".join(users.unusable),
        )
    return users


def parse_users(content: bytes) -> Users:
    """The users in a file's content; of two lines for one user the last counts. Raises ValueError.

    Blank lines and those that begin with `#` are skipped.
    """
    hashes: dict[bytes, bytes] = {}
    unusable: dict[bytes, None] = {}
    costs: Counter[bytes] = Counter()
    for number, line in enumerate(content.splitlines(), start=1):
        entry = line.strip()
        if not entry or entry.startswith(b"#"):
            continue
        user, colon, given = entry.partition(b":")
        if not colon or not user or not given:
            raise ValueError(f"line {number} is not 'user:hash'")
        hashes.pop(user, None)
        unusable.pop(user, None)
        match = _HASH.fullmatch(given)
        if match is None:
            unusable[user] = None
            continue
        hashes[user] = given
        costs[match[1]] += 1
    cost = costs.most_common(1)[0][0] if costs else _USUAL_COST
    names = tuple(user.decode("utf-8", "replace") for user in unusable)
    return Users(hashes, names, b"$2b$" + cost + _NOBODY)


def provide(path: str) -> None:
    """Make the file when it is not there, as distribution does: for one user, whose password is logged once.

    Raises ConfigurationError.
    """
    if os.path.lexists(path):
        return
    password = secrets.token_urlsafe(32)
    line = f"{_DEFAULT_USER}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(10)).decode()}\n"
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = write_new(Path(path), line.encode())
    except OSError as error:
        raise ConfigurationError(KEY, f"{path} is not there, and cannot be made: {error.strerror}") from error
    if made:
        log.warning(
            "the htpasswd file was missing and has been made, with one user",
            path=path,
            user=_DEFAULT_USER,
            password=password,
        )
