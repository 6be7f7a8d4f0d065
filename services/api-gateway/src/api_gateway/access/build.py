"""The one place that chooses the controller: by `auth`, and never an open one by mistake.

A controller is imported where it is chosen: with it come libraries that the others do not need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from api_gateway.access.interface import AccessController
from api_gateway.access.observed import Observed
from api_gateway.access.open import Open
from api_gateway.access.silly import SillyController
from moorage.config import Configuration

log = structlog.get_logger("api_gateway.access")


def check_access_control(config: Configuration) -> None:
    """Make sure, before anything listens, that the controller will have the files that it needs.

    Raises ConfigurationError that names the key.
    """
    auth = config.auth
    if auth.htpasswd is not None:
        from api_gateway.access.htpasswd.controller import check_htpasswd

        check_htpasswd(auth.htpasswd)
    elif auth.token is not None and auth.token.server is None:
        from api_gateway.access.token.keys import load_keys

        load_keys(auth.token)


@asynccontextmanager
async def access_control(
    config: Configuration, own: AccessController | None = None
) -> AsyncIterator[AccessController]:
    """The controller that `auth` asks for, while the context is open. Raises ConfigurationError.

    `own` is the one of a registry that is its own token service (`auth.token.server`).
    """
    auth = config.auth
    async with AsyncExitStack() as stack:
        controller: AccessController
        if auth.htpasswd is not None:
            from api_gateway.access.htpasswd.controller import htpasswd_controller

            processes = config.http.worker_count
            controller = await stack.enter_async_context(htpasswd_controller(auth.htpasswd, processes))
        elif own is not None:
            controller = own
        elif auth.token is not None:
            from api_gateway.access.token.controller import token_controller

            controller = await stack.enter_async_context(token_controller(config, auth.token))
        elif auth.silly is not None:
            log.warning("auth.silly lets in whoever sends any credentials: it is for tests")
            controller = SillyController(auth.silly)
        else:
            # Not observed: there is nothing to tell, and it costs nothing.
            yield Open()
            return
        yield Observed(controller, auth.kind)
