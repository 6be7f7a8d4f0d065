"""htpasswd files, as an operator's `htpasswd -B` writes them, but quick to check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import bcrypt


def account_line(user: str, password: str) -> str:
    """The line of one account."""
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"


def write_accounts(path: Path, passwords: Mapping[str, str]) -> Path:
    """Write the file as an editor does: another one in its place."""
    new = path.with_suffix(".new")
    new.write_text("".join(account_line(user, password) for user, password in passwords.items()))
    new.replace(path)
    return path
