"""What is known of one request and its answer, for the access log, the metrics and the log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from moorage.errors import RegistryError

# The status under which a request is counted whose client went away before it was answered; it is never sent.
CLIENT_CLOSED_REQUEST = 499

# Where a request's record stands in its ASGI scope.
RECORD_KEY = "moorage.record"


@dataclass(slots=True)
class RequestRecord:
    """Filled in by whoever learns it, in the course of the request."""

    peer: str | None
    """The IP address at the other end of the connection; None for a unix socket."""

    client: str
    """The client's IP address, as trusted proxies give it; "" for a client on a unix socket."""

    started: float = field(default_factory=time.perf_counter)
    route: str = ""
    """The route's name in the descriptor table; "" for none of its routes."""

    user: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    """The path's parameters."""

    status: int = 0
    received: int = 0
    """Bytes of the request's body that were read."""

    written: int = 0
    """Bytes of the answer's body."""

    content_type: str = ""
    error: RegistryError | None = None
    """Why the request was refused or failed."""

    def elapsed(self) -> float:
        """Seconds since the request's head was read."""
        return time.perf_counter() - self.started
