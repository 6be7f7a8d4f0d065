"""The controller: Bearer authentication; who has a token may do what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from api_gateway.access.challenge import MalformedCredentialsError, challenge, credentials, scope_of
from api_gateway.access.interface import AccessRecord, ChallengeError, Grant
from api_gateway.access.reloading import reloading
from api_gateway.access.token.errors import InvalidTokenError
from api_gateway.access.token.keys import load_keys
from api_gateway.access.token.verifier import TokenVerifier
from api_gateway.urls import Origins
from moorage.config import Configuration
from moorage.config.auth import Token

if TYPE_CHECKING:
    from api_gateway.request import Request

# Peers whose trust is remembered, at most.
_PEERS = 4096

Realm = Callable[["Request"], str]


class TokenController:
    """Grants what a token grants."""

    def __init__(self, service: str, realm: Realm, verifier: TokenVerifier) -> None:
        self._service = service
        self._realm = realm
        self._verifier = verifier

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """Grant what the token does, or raise ChallengeError. See `AccessController`."""
        try:
            token = credentials(request.headers, "bearer")
        except MalformedCredentialsError as error:
            # As if nothing had been sent: a client that tries a password first is sent to the token server.
            raise self._challenge(request, records, "", str(error)) from None
        if not token:
            raise self._challenge(request, records, "", "")
        try:
            grant = self._verifier.verify(token)
        except InvalidTokenError as error:
            raise self._challenge(request, records, "invalid_token", f"token: {error}") from None
        if not all(record.optional or grant.allows(record) for record in records):
            reason = f"the token of user {grant.user!r} does not grant it"
            raise self._challenge(request, records, "insufficient_scope", reason)
        return grant

    def _challenge(
        self, request: Request, records: Sequence[AccessRecord], error: str, reason: str
    ) -> ChallengeError:
        """401, also for a scope that is too small, so that clients get another token. RFC 6750 has 403."""
        text = challenge(
            "Bearer", realm=self._realm(request), service=self._service, scope=scope_of(records), error=error
        )
        return ChallengeError(text, records, reason)


def realm_of(config: Configuration, token: Token) -> Realm:
    """Where a client gets its token: the configured URL or, with `autoredirect`, a path on the host it asked.

    That host is the one of `http.host` if it is set, else what a trusted proxy or the client itself says.
    """
    if not token.autoredirect:
        return lambda request: token.realm
    path = token.autoredirectpath
    if config.http.host is not None:
        parts = urlsplit(config.http.host)
        fixed = f"{parts.scheme}://{parts.netloc}{path}"
        return lambda request: fixed
    trusts = lru_cache(_PEERS)(config.http.trusts)
    asked = Origins(host=None, relative=False, prefix="/", trusts=trusts)

    def realm(request: Request) -> str:
        # Without a proxy that says otherwise it is https, whatever the connection is: as in distribution.
        origin = asked.root(peer=request.record.peer, scheme="https", headers=request.headers)
        return f"{origin}{path}" if origin else token.realm

    return realm


@asynccontextmanager
async def token_controller(config: Configuration, token: Token) -> AsyncIterator[TokenController]:
    """The controller while the context is open. Raises ConfigurationError."""
    verifier = TokenVerifier(issuer=token.issuer, service=token.service)
    paths = [path for path in (token.rootcertbundle, token.jwks) if path]
    async with reloading(paths, lambda: load_keys(token), verifier.replace_keys):
        yield TokenController(token.service, realm_of(config, token), verifier)
