"""The debug server: health and metrics on a listener of their own (`http.debug.addr`), off by default."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.types import Receive, Scope, Send

from api_gateway.headers import HeaderList, field
from api_gateway.health import MANUAL, HealthState
from api_gateway.server import listen_tcp, serving
from moorage.config import Configuration, split_host_port

Exposition = Callable[[], Awaitable[bytes]]
"""What is counted, in Prometheus' text format."""

# Seconds that requests get at the end.
_DRAIN = 1.0


async def of_this_process() -> bytes:
    """What this process counts."""
    return generate_latest(REGISTRY)


@asynccontextmanager
async def debug_server(
    config: Configuration, health: HealthState, metrics: Exposition
) -> AsyncIterator[None]:
    """The debug server while the context is open, if there is to be one. Raises OSError for its address."""
    addr = config.http.debug.addr
    if addr is None:
        yield
        return
    listener = listen_tcp(*split_host_port(addr))
    async with serving(DebugServer(config, health, metrics), listener, drain=_DRAIN):
        yield


class DebugServer:
    """Answers `/debug/health`, `/debug/health/up`, `/debug/health/down` and, when configured, Prometheus."""

    def __init__(self, config: Configuration, health: HealthState, metrics: Exposition) -> None:
        prometheus = config.http.debug.prometheus
        self._metrics_path = prometheus.path if prometheus.enabled else None
        self._health = health
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        status, content_type, body = await self._answer(scope["method"], scope["path"])
        headers: HeaderList = [
            (b"content-type", content_type.encode("ascii")),
            (b"cache-control", b"no-store"),
            field(b"content-length", str(len(body))),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        reading = method in ("GET", "HEAD")
        if path == "/debug/health" and reading:
            errors = self._health.errors
            # What is only degraded is told, and fails nothing.
            body = json.dumps({**self._health.degraded, **errors}).encode()
            return (503 if errors else 200), "application/json", body
        if path in ("/debug/health/up", "/debug/health/down"):
            if method != "POST":
                return 404, "text/plain; charset=utf-8", b"only POST changes the health\n"
            if path == "/debug/health/up":
                self._health.recover(MANUAL)
            else:
                self._health.fail(MANUAL, "manual check")
            return 200, "text/plain; charset=utf-8", b""
        if path == self._metrics_path and reading:
            return 200, CONTENT_TYPE_LATEST, await self._metrics()
        return 404, "text/plain; charset=utf-8", b"not found\n"
