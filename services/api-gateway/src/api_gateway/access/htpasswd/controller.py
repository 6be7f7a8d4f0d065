"""The controller: Basic authentication; whoever is a user may do everything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from api_gateway.access.challenge import MalformedCredentialsError, challenge, credentials
from api_gateway.access.htpasswd.attempts import TooManyFailuresError
from api_gateway.access.htpasswd.file import Users, load_users, provide
from api_gateway.access.htpasswd.passwords import Passwords, WrongPasswordError
from api_gateway.access.htpasswd.pool import CrowdedError
from api_gateway.access.interface import AccessRecord, ChallengeError, Grant
from api_gateway.access.reloading import reloading
from api_gateway.headers import field
from api_gateway.refusal import RefusalError
from moorage.config.auth import HTPasswd
from moorage.errors import ErrorCode, RegistryError

if TYPE_CHECKING:
    from api_gateway.request import Request

# Seconds that a password may wait for its check.
_DEADLINE = 30.0


class HTPasswdController:
    """Grants everything to the users of a file."""

    def __init__(self, config: HTPasswd, passwords: Passwords) -> None:
        self._passwords = passwords
        self._challenge = challenge("Basic", realm=config.realm)

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """Grant everything, or raise ChallengeError.

        TOOMANYREQUESTS after too many wrong passwords, and while too many wait to be checked.
        """
        try:
            sent = credentials(request.headers, "basic")
            if sent is None:
                raise ChallengeError(self._challenge, records)
            async with asyncio.timeout(_DEADLINE):
                return await self._passwords.check(sent, request.record.client)
        except (MalformedCredentialsError, WrongPasswordError) as error:
            raise ChallengeError(self._challenge, records, str(error)) from None
        except TooManyFailuresError as error:
            failed = RegistryError(ErrorCode.TOOMANYREQUESTS, message="too many wrong passwords")
            raise RefusalError.wrap(failed, [field(b"retry-after", str(error.seconds))]) from None
        except (CrowdedError, TimeoutError):
            raise crowded() from None


def crowded() -> RefusalError:
    """The refusal while too many passwords wait to be checked."""
    error = RegistryError(
        ErrorCode.TOOMANYREQUESTS, message="too many passwords wait to be checked; try again"
    )
    return RefusalError.wrap(error, [(b"retry-after", b"1")])


def check_htpasswd(config: HTPasswd) -> None:
    """Make sure that the file is there and can be read. Raises ConfigurationError."""
    provide(config.path)
    load_users(config.path)


@asynccontextmanager
async def htpasswd_controller(config: HTPasswd, processes: int) -> AsyncIterator[HTPasswdController]:
    """The controller while the context is open, one of as many processes. Raises ConfigurationError."""
    await asyncio.to_thread(provide, config.path)
    passwords = Passwords(max(1, (os.cpu_count() or 1) // processes), config.failures)

    def take(users: Users) -> None:
        passwords.users = users

    try:
        async with reloading([config.path], lambda: load_users(config.path), take):
            yield HTPasswdController(config, passwords)
    finally:
        passwords.close()
