"""The accounts of the token service: an htpasswd file, read again when it changes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api_gateway.access.htpasswd.file import load_users
from api_gateway.access.htpasswd.passwords import Passwords, WrongPasswordError, passwords_in
from moorage.config.failures import Failures

KEY = "auth.token.server.htpasswd"


class FileAccounts:
    """The users of an htpasswd file."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    async def verify(self, user: str, password: str, client: str) -> bool:
        """Whether that is the user's password.

        Raises TooManyFailuresError, and RegistryError (TOOMANYREQUESTS) when too many wait.
        """
        try:
            await self._passwords.check(b64encode(f"{user}:{password}".encode()).decode("ascii"), client)
        except WrongPasswordError:
            return False
        return True

    def hash_of(self, user: str) -> str | None:
        """The hash of the user's password, as the file has it now; None for no such user."""
        hashed = self._passwords.users.hashes.get(user.encode("utf-8", "surrogatepass"))
        return None if hashed is None else hashed.decode("ascii")


def check_accounts(path: str) -> None:
    """Make sure that the file can be read. Raises ConfigurationError."""
    load_users(path, KEY)


@asynccontextmanager
async def accounts_in(path: str, processes: int, failures: Failures) -> AsyncIterator[FileAccounts]:
    """The accounts while the context is open, in one of as many processes. Raises ConfigurationError."""
    async with passwords_in(path, KEY, processes, failures) as passwords:
        yield FileAccounts(passwords)
