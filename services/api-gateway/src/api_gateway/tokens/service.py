"""The token service: who is it, what do they ask for, what do they get."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from api_gateway.access.htpasswd.attempts import TooManyFailuresError
from api_gateway.metrics import TOKENS_ISSUED, TOKENS_REFUSED
from api_gateway.tokens.acl import AccessList
from api_gateway.tokens.issuing import InvalidRefreshTokenError, IssuedToken, Issuer
from api_gateway.tokens.scopes import Scope

log = structlog.get_logger("api_gateway.tokens")

# The most of an account's name that a log line holds.
_QUOTED = 120


class Accounts(Protocol):
    """Who may log in."""

    async def verify(self, user: str, password: str, client: str) -> bool:
        """Whether that is the user's password; `client` is whose turn it is when many ask.

        Raises TooManyFailuresError, and RegistryError (TOOMANYREQUESTS) when too many ask.
        """
        ...

    def hash_of(self, user: str) -> str | None:
        """The hash of the user's password; None for no such user."""
        ...


class LoginRefusedError(Exception):
    """The credentials do not count. It does not say why, and holds nothing of them."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a caller gets: the token, what it grants, and a refresh token if it was asked for."""

    token: IssuedToken
    granted: tuple[Scope, ...]
    refresh_token: str = ""


class TokenService:
    """Issues tokens to accounts, by an access list, and to nobody in particular where the list says so."""

    def __init__(self, *, accounts: Accounts, acl: AccessList, issuer: Issuer) -> None:
        self._accounts = accounts
        self._acl = acl
        self._issuer = issuer

    async def by_password(self, address: str, user: str, password: str) -> str:
        """The user, when that is the password; `address` is the client's.

        Raises LoginRefusedError, TooManyFailuresError, and what `Accounts.verify` raises.
        """
        try:
            right = await self._accounts.verify(user, password, address)
        except TooManyFailuresError:
            TOKENS_REFUSED.labels("too many failures").inc()
            self._log_refusal(address, user, "too many failures")
            raise
        if not right:
            TOKENS_REFUSED.labels("password").inc()
            self._log_refusal(address, user, "unknown account or wrong password")
            raise LoginRefusedError
        return user

    def by_refresh_token(self, address: str, text: str) -> str:
        """The user of a refresh token. Raises LoginRefusedError."""
        try:
            return self._issuer.refreshed(text, self._accounts.hash_of)
        except InvalidRefreshTokenError as error:
            TOKENS_REFUSED.labels("refresh token").inc()
            self._log_refusal(address, "", str(error))
            raise LoginRefusedError from error

    def nobody(self) -> str:
        """The user of a caller without credentials, "". Raises LoginRefusedError where nobody is let in."""
        if self._acl.admits_anonymous:
            return ""
        TOKENS_REFUSED.labels("anonymous").inc()
        raise LoginRefusedError

    def issue(self, user: str, asked: Iterable[Scope], *, grant: str, refreshing: bool = False) -> Issued:
        """A token for what the user may have of what is asked for. Less than that is no error.

        `grant` says for the metrics how the caller came. With `refreshing` there is a refresh token in it, if
        there are any and the user is somebody.
        """
        granted = tuple(scope for each in asked if (scope := self._acl.granted(user, each)) is not None)
        token = self._issuer.access_token(user, granted)
        TOKENS_ISSUED.labels(grant).inc()
        password_hash = self._accounts.hash_of(user) if user and refreshing else None
        if password_hash is None or not self._issuer.refreshes:
            return Issued(token, granted)
        return Issued(token, granted, self._issuer.refresh_token(user, password_hash))

    def _log_refusal(self, address: str, user: str, reason: str) -> None:
        log.warning(
            "login refused",
            account=user[:_QUOTED],
            reason=reason,
            **{"http.request.remoteaddr": address},
        )
