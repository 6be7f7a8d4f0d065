"""Tokens, as they are issued and, for those that refresh, as they come back.

An access token is a JWT that the signing key signs, and says what its bearer may do. A refresh token is one
that a secret of the same key authenticates (HS256), says only who its bearer is, and is bound to the
account's password: nothing that verifies access tokens takes it, and it needs no table. Source: RFC 7519;
distribution, "Token authentication implementation".
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jwt

from api_gateway.access.token.claims import LEEWAY
from api_gateway.tokens.keys import Key, KeyRing
from api_gateway.tokens.scopes import Scope

_REFRESH = "refresh+jwt"
_HMAC = "HS256"
_REFRESH_SECRET = "refresh tokens"  # noqa: S105  what the secret is for

# Characters of a refresh token that is worth a look.
_LONGEST = 4096


class InvalidRefreshTokenError(ValueError):
    """The token is not one of ours, has expired, or its account is not what it was."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token; `issued_at` is seconds since the epoch, `lifetime` seconds."""

    text: str
    issued_at: int
    lifetime: int


class Issuer:
    """Issues tokens for `service`. Lifetimes are seconds; a `refresh_lifetime` of 0 issues no refresh tokens.

    `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        keys: KeyRing,
        *,
        issuer: str,
        service: str,
        lifetime: float,
        refresh_lifetime: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._service = service
        self._lifetime = int(lifetime)
        self._refresh_lifetime = int(refresh_lifetime)
        self._clock = clock
        self._secrets = {key.kid: _Secret(key) for key in keys.all if key.private is not None}

    @property
    def refreshes(self) -> bool:
        """Whether refresh tokens are issued."""
        return self._refresh_lifetime > 0

    def access_token(self, user: str, granted: Iterable[Scope]) -> IssuedToken:
        """A token that grants these scopes to a user ("" for nobody)."""
        now = int(self._clock())
        key = self._keys.signing
        claims = {
            "iss": self._issuer,
            "sub": user,
            "aud": self._service,
            "exp": now + self._lifetime,
            "nbf": now,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "access": [scope.as_claim() for scope in granted],
        }
        assert key.private is not None  # noqa: S101  load_keys made sure
        text = jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid})
        return IssuedToken(text, now, self._lifetime)

    def refresh_token(self, user: str, password_hash: str) -> str:
        """A token for which its bearer gets access tokens, while the account has this password hash."""
        now = int(self._clock())
        kid = self._keys.signing.kid
        claims = {
            "iss": self._issuer,
            "sub": user,
            "aud": self._service,
            "exp": now + self._refresh_lifetime,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "bound": self._secrets[kid].binding(user, password_hash),
        }
        return jwt.encode(
            claims, self._secrets[kid].key, algorithm=_HMAC, headers={"kid": kid, "typ": _REFRESH}
        )

    def refreshed(self, text: str, hash_of: Callable[[str], str | None]) -> str:
        """The user of a refresh token; `hash_of` gives an account's password hash, None for no account.

        Raises InvalidRefreshTokenError, and does not say which of its reasons it was.
        """
        secret, claims = self._opened(text)
        user, bound = claims["sub"], claims["bound"]
        password_hash = hash_of(user) if user else None
        if password_hash is None or not isinstance(bound, str):
            raise InvalidRefreshTokenError("the account is gone")
        expected = secret.binding(user, password_hash)
        if not hmac.compare_digest(expected.encode(), bound.encode("utf-8", "replace")):
            raise InvalidRefreshTokenError("the account's password has changed")
        return str(user)

    def _opened(self, text: str) -> tuple[_Secret, dict[str, Any]]:
        if len(text) > _LONGEST:
            raise InvalidRefreshTokenError("not a refresh token")
        try:
            header = jwt.get_unverified_header(text)
            kid = header.get("kid")
            secret = self._secrets.get(kid) if isinstance(kid, str) else None
            if secret is None or header.get("typ") != _REFRESH:
                raise InvalidRefreshTokenError("not a refresh token of a key that is known")
            claims: dict[str, Any] = jwt.decode(
                text,
                secret.key,
                algorithms=[_HMAC],
                audience=self._service,
                issuer=self._issuer,
                # Times are compared here, with this clock.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidRefreshTokenError("not a refresh token that this registry has issued") from error
        expiry = claims["exp"]
        # Another gateway may have issued it.
        if not isinstance(expiry, int) or isinstance(expiry, bool) or self._clock() > expiry + LEEWAY:
            raise InvalidRefreshTokenError("the refresh token has expired")
        return secret, claims


_REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti", "bound"]


class _Secret:
    """What a key keeps for refresh tokens."""

    def __init__(self, key: Key) -> None:
        self.key = key.secret(_REFRESH_SECRET)
        self._binding = key.secret("accounts")

    def binding(self, user: str, password_hash: str) -> str:
        """A mark of an account's password, from which nobody without the key learns anything of its hash."""
        return hmac.new(self._binding, f"{user}:{password_hash}".encode(), "sha256").hexdigest()
