"""The debug server: health, metrics, variables and profiles on a listener of their own (`http.debug.addr`).

It is off by default, and open to whoever reaches it: no answer holds a secret.

Source: distribution's debug server, which is Go's expvar and net/http/pprof.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.types import Receive, Scope, Send

from api_gateway.headers import HeaderList, field
from api_gateway.health import MANUAL, HealthState
from api_gateway.inspectors import PPROF, TEXT, Inspector, index_page, of_one_process
from api_gateway.server import listen_tcp, serving
from moorage.config import Configuration, split_host_port
from moorage.inspection import Answer, Question

log = structlog.get_logger("api_gateway.debug")

Exposition = Callable[[], Awaitable[bytes]]
"""What is counted, in Prometheus' text format."""

# Seconds that requests get at the end.
_DRAIN = 1.0


async def of_this_process() -> bytes:
    """What this process counts."""
    return generate_latest(REGISTRY)


@asynccontextmanager
async def debug_server(
    config: Configuration,
    health: HealthState,
    metrics: Exposition,
    inspector: Inspector = of_one_process,
) -> AsyncIterator[None]:
    """The debug server while the context is open, if there is to be one. Raises OSError for its address."""
    addr = config.http.debug.addr
    if addr is None:
        yield
        return
    host, port = split_host_port(addr)
    listener = listen_tcp(host, port)
    if not _is_loopback(host):
        log.warning("whoever reaches the debug server may use it", address=addr)
    async with serving(DebugServer(config, health, metrics, inspector), listener, drain=_DRAIN):
        yield


class DebugServer:
    """Answers below `/debug/`, and Prometheus when configured."""

    def __init__(
        self,
        config: Configuration,
        health: HealthState,
        metrics: Exposition,
        inspector: Inspector = of_one_process,
    ) -> None:
        prometheus = config.http.debug.prometheus
        self._metrics_path = prometheus.path if prometheus.enabled else None
        self._health = health
        self._metrics = metrics
        self._inspector = inspector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        answer = await self._answer(scope["method"], scope["path"], query)
        headers: HeaderList = [
            (b"content-type", answer.content_type.encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            field(b"content-length", str(len(answer.body))),
        ]
        if answer.name:
            headers.append(field(b"content-disposition", f'attachment; filename="{answer.name}"'))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str, query: Mapping[str, str]) -> Answer:
        if path in ("/debug/health/up", "/debug/health/down"):
            return self._switched(method, path)
        if method not in ("GET", "HEAD"):
            return Answer(404, TEXT, b"not found\n")
        if path == "/debug/health":
            errors = self._health.errors
            # What is only degraded is told, and fails nothing.
            body = json.dumps({**self._health.degraded, **errors}).encode()
            return Answer(503 if errors else 200, "application/json", body)
        if path == self._metrics_path:
            return Answer(200, CONTENT_TYPE_LATEST, await self._metrics())
        if path == "/debug/vars":
            return await self._inspector(Question("vars", query))
        if path in (PPROF, PPROF.rstrip("/")):
            return Answer(200, TEXT, index_page())
        if path.startswith(PPROF):
            return await self._inspector(Question(path.removeprefix(PPROF), query))
        return Answer(404, TEXT, b"not found\n")

    def _switched(self, method: str, path: str) -> Answer:
        if method != "POST":
            return Answer(404, TEXT, b"only POST changes the health\n")
        if path == "/debug/health/up":
            self._health.recover(MANUAL)
        else:
            self._health.fail(MANUAL, "manual check")
        return Answer(200, TEXT, b"")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
