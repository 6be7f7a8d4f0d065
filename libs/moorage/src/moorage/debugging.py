"""The debug server of a service: metrics, health and variables, on a listener of their own, off by default.

The gateway has one of its own (`http.debug`); the services behind it have this (`services.<name>.debugaddr`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from moorage.config.values import split_host_port
from moorage.rpc import RpcServer

# Seconds that requests get at the end, and that an idle connection is kept.
_DRAIN = 1.0
_KEEP_ALIVE = 30.0

Variables = Callable[[], Mapping[str, Any]]


def _nothing() -> Mapping[str, Any]:
    return {}


@asynccontextmanager
async def debug_server(
    addr: str | None, server: RpcServer, variables: Variables = _nothing
) -> AsyncIterator[None]:
    """Serve while the context is open, if `addr` (`host:port`) says where. Raises OSError for its address.

    `GET /metrics` is Prometheus' text format; `/health` is 200 while `server` tells that it serves, else 503;
    `/debug/vars` is `variables` as JSON.
    """
    if not addr:
        yield
        return
    # Only here: a service without a debug server does not pay for it.
    from aiohttp import web

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_: web.Request) -> web.Response:
        document = {"serving": server.is_serving, "degraded": server.degraded}
        return _json(document, status=200 if server.is_serving else 503)

    async def debug_vars(_: web.Request) -> web.Response:
        return _json(variables())

    def _json(document: Mapping[str, Any], status: int = 200) -> web.Response:
        return web.Response(
            text=json.dumps(document, ensure_ascii=False), status=status, content_type="application/json"
        )

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", metrics), web.get("/health", health), web.get("/debug/vars", debug_vars)]
    )
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=_DRAIN, keepalive_timeout=_KEEP_ALIVE, handle_signals=False
    )
    await runner.setup()
    try:
        host, port = split_host_port(addr)
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as error:
            raise OSError(f"cannot listen on {addr} for debugging: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()
