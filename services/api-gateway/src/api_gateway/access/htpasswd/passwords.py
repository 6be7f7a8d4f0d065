"""Whether a password is right: bcrypt off the event loop, and a memory of what was right a moment ago."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import os
import secrets
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import bcrypt

from api_gateway.access.htpasswd.attempts import Attempts, TooManyFailuresError
from api_gateway.access.htpasswd.file import Users, load_users
from api_gateway.access.htpasswd.pool import CrowdedError, FairPool
from api_gateway.access.interface import Grant
from api_gateway.access.reloading import reloading
from api_gateway.metrics import LOGIN_FAILURES
from api_gateway.refusal import RefusalError, retry_after
from moorage.config.failures import Failures
from moorage.errors import ErrorCode, RegistryError

# Successes that are remembered, at most, and for how many seconds. A change of the file ends them at once.
_REMEMBERED = 4096
_REMEMBERED_SECONDS = 300.0

# Passwords that wait to be checked: of one client, and in all.
_WAITING_EACH = 64
_WAITING_TOTAL = 1024

# Seconds that a password may wait for its check.
_DEADLINE = 30.0

# What bcrypt takes of a password; htpasswd and distribution leave the rest aside too.
_BCRYPT_BYTES = 72


class WrongPasswordError(Exception):
    """The credentials do not do. `str()` says why, for the log alone, and names only users that exist."""


@dataclass(frozen=True, slots=True)
class _Success:
    hashed: bytes = field(repr=False)
    until: float
    user: bytes
    grant: Grant


class Passwords:
    """Checks the credentials of Basic authentication against users, who may be replaced at any time.

    Of wrong ones each client may try as many as `failures` says. What was right before, and requests that
    come with the same password at the same time, do not count as further attempts.
    """

    def __init__(
        self, threads: int, failures: Failures, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.users = Users({}, (), b"")
        self._attempts = Attempts(failures.burst, failures.interval, clock)
        self._clock = clock
        self._pool: FairPool[bool] = FairPool(threads, each=_WAITING_EACH, total=_WAITING_TOTAL)
        # Credentials are remembered by a keyed hash: neither is of use outside this process.
        self._key = secrets.token_bytes(32)
        self._successes: OrderedDict[bytes, _Success] = OrderedDict()
        self._checking: dict[bytes, asyncio.Task[Grant]] = {}

    def close(self) -> None:
        """Check nothing more."""
        self._pool.close()

    async def check(self, credentials: str, client: str) -> Grant:
        """The grant of the user whose credentials (base64) these are.

        `client` is the address whose turn it is when many wait, and whose wrong passwords are counted.
        Raises WrongPasswordError, TooManyFailuresError, and TOOMANYREQUESTS when too many wait.
        """
        digest = hashlib.blake2b(credentials.encode("latin-1"), key=self._key, digest_size=32).digest()
        known = False
        success = self._successes.get(digest)
        if success is not None:
            known = self.users.hashes.get(success.user) == success.hashed
            if known and self._clock() < success.until:
                self._successes.move_to_end(digest)
                return success.grant
            del self._successes[digest]
        # Clients send many requests at a time with the same password: it is checked once for all of them.
        checking = self._checking.get(digest)
        if checking is None:
            user, password = _parse(credentials)
            if not known:
                self._begin(client, user)
            checking = asyncio.create_task(self._check(digest, user, password, client, paid=not known))
            self._checking[digest] = checking
            checking.add_done_callback(lambda done: self._checked(digest, done))
        try:
            async with asyncio.timeout(_DEADLINE):
                return await asyncio.shield(checking)
        except (CrowdedError, TimeoutError):
            crowded = RegistryError(
                ErrorCode.TOOMANYREQUESTS, message="too many passwords wait to be checked; try again"
            )
            raise RefusalError.wrap(crowded, [retry_after(1)]) from None

    def _begin(self, client: str, user: bytes) -> None:
        try:
            self._attempts.begin(client, _name(user))
        except TooManyFailuresError:
            LOGIN_FAILURES.labels("too many failures").inc()
            raise

    async def _check(self, digest: bytes, user: bytes, password: bytes, client: str, *, paid: bool) -> Grant:
        hashed = self.users.hashes.get(user)
        # The same work for who is not there.
        against = hashed or self.users.nobody
        try:
            right = await self._pool.run(client, lambda: _is_right(password, against))
        except (CrowdedError, asyncio.CancelledError):
            # Nobody has looked at it.
            if paid:
                self._attempts.give_back(client, _name(user))
            raise
        name = _name(user)
        # The file may have been read again meanwhile.
        if hashed is None or not right or self.users.hashes.get(user) != hashed:
            LOGIN_FAILURES.labels("password").inc()
            raise WrongPasswordError(
                "no such user" if hashed is None else f"the password of user {name!r} is wrong"
            )
        if paid:
            self._attempts.give_back(client, name)
        grant = Grant(name)
        self._successes[digest] = _Success(hashed, self._clock() + _REMEMBERED_SECONDS, user, grant)
        if len(self._successes) > _REMEMBERED:
            self._successes.popitem(last=False)
        return grant

    def _checked(self, digest: bytes, done: asyncio.Task[Grant]) -> None:
        del self._checking[digest]
        if not done.cancelled():
            # Perhaps nobody waits for it any more.
            done.exception()


@asynccontextmanager
async def passwords_in(path: str, key: str, processes: int, failures: Failures) -> AsyncIterator[Passwords]:
    """The passwords of a file while the context is open, in one of so many processes.

    `key` is where the configuration names the file. Raises ConfigurationError.
    """
    passwords = Passwords(max(1, (os.cpu_count() or 1) // processes), failures)

    def take(users: Users) -> None:
        passwords.users = users

    try:
        async with reloading([path], lambda: load_users(path, key), take):
            yield passwords
    finally:
        passwords.close()


def _name(user: bytes) -> str:
    return user.decode("utf-8", "replace")


def _parse(credentials: str) -> tuple[bytes, bytes]:
    """User and password. Source: RFC 7617, section 2. Raises WrongPasswordError."""
    try:
        decoded = b64decode(credentials, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WrongPasswordError("the credentials are not base64") from error
    user, colon, password = decoded.partition(b":")
    if not colon:
        raise WrongPasswordError("the credentials hold no password")
    return user, password


def _is_right(password: bytes, hashed: bytes) -> bool:
    # bcrypt ends at a NUL, so a password with one would be another one too.
    right = bcrypt.checkpw(password.replace(b"\0", b"?")[:_BCRYPT_BYTES], hashed)
    return right and b"\0" not in password
