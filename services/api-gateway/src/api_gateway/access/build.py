"""The one place that chooses the controller: by `auth`, and never an open one by mistake."""

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
    """Make sure, before anything listens, that the controller will have what it needs.

    Raises ConfigurationError that names the key.
    """


@asynccontextmanager
async def access_control(config: Configuration) -> AsyncIterator[AccessController]:
    """The controller that `auth` asks for, while the context is open. Raises ConfigurationError."""
    auth = config.auth
    async with AsyncExitStack() as stack:
        controller: AccessController
        if auth.silly is not None:
            log.warning("auth.silly lets in whoever sends any credentials: it is for tests")
            controller = SillyController(auth.silly)
        elif auth.kind == "none":
            # Not observed: it costs nothing, and there is nothing to tell.
            yield Open()
            return
        else:
            raise NotImplementedError(auth.kind)
        yield Observed(controller, auth.kind)
