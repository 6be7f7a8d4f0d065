"""The accounts of the token service: an htpasswd file, read again when it changes."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api_gateway.access.htpasswd.controller import crowded
from api_gateway.access.htpasswd.file import Users, load_users
from api_gateway.access.htpasswd.passwords import Passwords, WrongPasswordError
from api_gateway.access.htpasswd.pool import CrowdedError
from api_gateway.access.reloading import reloading
from moorage.config.failures import Failures

KEY = "auth.token.server.htpasswd"

# Seconds that a password may wait for its check.
_DEADLINE = 30.0


class FileAccounts:
    """The users of an htpasswd file."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    async def verify(self, user: str, password: str, client: str) -> bool:
        """Whether that is the user's password.

        Raises TooManyFailuresError, and RegistryError (TOOMANYREQUESTS) when too many wait.
        """
        try:
            async with asyncio.timeout(_DEADLINE):
                await self._passwords.check(b64encode(f"{user}:{password}".encode()).decode("ascii"), client)
        except WrongPasswordError:
            return False
        except (CrowdedError, TimeoutError) as error:
            raise crowded() from error
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
    passwords = Passwords(max(1, (os.cpu_count() or 1) // processes), failures)

    def take(users: Users) -> None:
        passwords.users = users

    try:
        async with reloading([path], lambda: load_users(path, KEY), take):
            yield FileAccounts(passwords)
    finally:
        passwords.close()
