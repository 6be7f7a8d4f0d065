"""The listener itself, an HTTP server of its own in the service's event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from moorage.config.values import is_loopback, split_host_port
from moorage.debugging.pages import Pages

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.get_logger("moorage.debugging")

# Seconds that requests get at the end, and that an idle connection is kept.
_DRAIN = 1.0
_KEEP_ALIVE = 30.0


@asynccontextmanager
async def debug_server(addr: str | None, pages: Pages) -> AsyncIterator[None]:
    """Serve `pages` at `addr` (`host:port`) while the context is open; without one, do nothing.

    Raises OSError for an address that cannot be had.
    """
    if not addr:
        yield
        return
    # Only here: a service without a debug listener does not pay for it.
    from aiohttp import web

    async def respond(request: web.BaseRequest) -> web.Response:
        return await _respond(pages, request)

    server = web.Server(respond, access_log=None, keepalive_timeout=_KEEP_ALIVE, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=_DRAIN, handle_signals=False)
    await runner.setup()
    try:
        host, port = split_host_port(addr)
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as error:
            raise OSError(f"cannot listen on {addr} for debugging: {error.strerror or error}") from error
        if not is_loopback(host):
            log.warning("whoever reaches the debug listener may use it", address=addr)
        yield
    finally:
        await runner.cleanup()


async def _respond(pages: Pages, request: web.BaseRequest) -> web.Response:
    from aiohttp import web

    from_browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    found = await pages.answer(request.method, request.path, dict(request.query), from_browser=from_browser)
    headers = {
        "Content-Type": found.content_type,
        "Cache-Control": "no-store",
        "Server": "moorage",
        "X-Content-Type-Options": "nosniff",
    }
    if found.name:
        headers["Content-Disposition"] = f'attachment; filename="{found.name}"'
    return web.Response(status=found.status, body=found.body, headers=headers)
