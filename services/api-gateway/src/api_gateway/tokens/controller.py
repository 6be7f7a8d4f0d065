"""The controller of a registry that is its own token service: it believes the service's keys."""

from __future__ import annotations

from api_gateway.access.token.controller import Realm, TokenController
from api_gateway.access.token.keys import SigningKey, TrustedKeys
from api_gateway.access.token.verifier import TokenVerifier
from api_gateway.tokens.keys import KeyRing
from moorage.config.auth import Token
from moorage.config.tokenserver import TokenServer


def own_controller(token: Token, server: TokenServer, keys: KeyRing) -> TokenController:
    """A controller for the tokens that these keys sign, which sends clients to the service for them."""
    verifier = TokenVerifier(issuer=token.issuer, service=token.service)
    trusted = {key.kid: SigningKey.of(key.public).only([key.algorithm]) for key in keys.all}
    verifier.replace_keys(TrustedKeys(trusted, None, frozenset(key.algorithm for key in keys.all)))
    return TokenController(token.service, _realm(token, server), verifier)


def _realm(token: Token, server: TokenServer) -> Realm:
    if token.finds_own_realm:
        return lambda request: request.root + server.path
    return lambda request: token.realm
