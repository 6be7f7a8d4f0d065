"""The token service, as the configuration has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api_gateway.access import AccessController
from api_gateway.answering import Exchange
from api_gateway.openroute import OpenRoute
from api_gateway.tokens.accounts import accounts_in, check_accounts
from api_gateway.tokens.acl import AccessList
from api_gateway.tokens.controller import own_controller
from api_gateway.tokens.issuing import Issuer
from api_gateway.tokens.keys import KeyRing, load_keys
from api_gateway.tokens.listing import Listing
from api_gateway.tokens.route import KeysRoute, TokenRoute
from api_gateway.tokens.service import TokenService
from moorage.config.auth import Token
from moorage.config.tokenserver import TokenServer

log = structlog.get_logger("api_gateway.tokens")


@dataclass(frozen=True, slots=True)
class TokenServing:
    """The token service, what it shows of itself, and what the rest of the gateway needs of it."""

    path: str
    service: str
    tokens: TokenService
    keys: KeyRing
    controller: AccessController
    listing: Listing

    def routes(self, exchange: Exchange) -> list[OpenRoute]:
        """Where clients get tokens, and verifiers the keys."""
        return [
            TokenRoute(self.path, self.tokens, exchange, service=self.service),
            KeysRoute(f"{self.path}/jwks.json", self.keys, exchange),
        ]


def check_serving(server: TokenServer) -> None:
    """See `check_token_serving`."""
    check_accounts(server.htpasswd)
    load_keys(server.key, server.previouskeys)
    if not server.rules:
        log.warning("auth.token.server has no rules: nobody may do anything")


@asynccontextmanager
async def serving(token: Token, server: TokenServer, processes: int) -> AsyncIterator[TokenServing]:
    """The token service while the context is open, in one of so many processes. Raises ConfigurationError."""
    keys = load_keys(server.key, server.previouskeys)
    acl = AccessList(server.rules, server.groups)
    issuer = Issuer(
        keys,
        issuer=token.issuer,
        service=token.service,
        lifetime=server.expiration,
        refresh_lifetime=server.refreshexpiration,
    )
    async with accounts_in(server.htpasswd, processes, server.failures) as accounts:
        yield TokenServing(
            path=server.path,
            service=token.service,
            tokens=TokenService(
                accounts=accounts,
                acl=acl,
                issuer=issuer,
            ),
            keys=keys,
            controller=own_controller(token, server, keys),
            listing=Listing(acl, AESGCM(keys.signing.secret("catalog positions"))),
        )
