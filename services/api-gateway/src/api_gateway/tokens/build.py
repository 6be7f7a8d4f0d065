"""Whether there is a token service, by the configuration.

It is imported where it is asked for: with it come libraries that other gateways do not need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from moorage.config import Configuration

if TYPE_CHECKING:
    from api_gateway.tokens.serving import TokenServing


def check_token_serving(config: Configuration) -> None:
    """Make sure, before anything listens, that the token service will have what it needs.

    The key that signs is made if it is not there. Raises ConfigurationError that names the key.
    """
    server = config.auth.token.server if config.auth.token is not None else None
    if server is not None:
        from api_gateway.tokens.serving import check_serving

        check_serving(server)


@asynccontextmanager
async def token_serving(config: Configuration) -> AsyncIterator[TokenServing | None]:
    """The token service while the context is open; None where there is none. Raises ConfigurationError."""
    token = config.auth.token
    if token is None or token.server is None:
        yield None
        return
    from api_gateway.tokens.serving import serving

    async with serving(token, token.server, config.http.worker_count) as service:
        yield service
