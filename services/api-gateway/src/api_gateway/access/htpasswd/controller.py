"""The controller: Basic authentication; whoever is a user may do everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from api_gateway.access.challenge import MalformedCredentialsError, challenge, credentials
from api_gateway.access.htpasswd.attempts import TooManyFailuresError
from api_gateway.access.htpasswd.file import KEY, load_users, provide
from api_gateway.access.htpasswd.passwords import Passwords, WrongPasswordError, passwords_in
from api_gateway.access.interface import AccessRecord, ChallengeError, Grant
from api_gateway.refusal import RefusalError, retry_after
from moorage.config.auth import HTPasswd
from moorage.errors import ErrorCode, RegistryError

if TYPE_CHECKING:
    from api_gateway.request import Request


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
            return await self._passwords.check(sent, request.record.client)
        except (MalformedCredentialsError, WrongPasswordError) as error:
            raise ChallengeError(self._challenge, records, str(error)) from None
        except TooManyFailuresError as error:
            failed = RegistryError(ErrorCode.TOOMANYREQUESTS, message="too many wrong passwords")
            raise RefusalError.wrap(failed, [retry_after(error.seconds)]) from None


def check_htpasswd(config: HTPasswd) -> None:
    """Make sure that the file is there and can be read. Raises ConfigurationError."""
    provide(config.path)
    load_users(config.path)


@asynccontextmanager
async def htpasswd_controller(config: HTPasswd, processes: int) -> AsyncIterator[HTPasswdController]:
    """The controller while the context is open, one of as many processes. Raises ConfigurationError."""
    await asyncio.to_thread(provide, config.path)
    async with passwords_in(config.path, KEY, processes, config.failures) as passwords:
        yield HTPasswdController(config, passwords)
