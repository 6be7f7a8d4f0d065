"""What no route takes: a slash too many or too few, an unknown path of the API, and the paths of FastAPI."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway.headers import field
from api_gateway.urls import API_ROOT
from moorage.errors import ErrorCode, RegistryError

# The most of an unknown path that its error quotes.
_QUOTED = 300


class Fallback:
    """The router's last resort."""

    def __init__(self, routes: Sequence[BaseRoute], otherwise: ASGIApp, *, prefix: str) -> None:
        self._routes = routes
        self._otherwise = otherwise
        self._api_root = prefix.rstrip("/") + API_ROOT

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect, pass on, or raise NAME_UNKNOWN."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        other = path[:-1] if path.endswith("/") else path + "/"
        if any(route.matches({**scope, "path": other})[0] is not Match.NONE for route in self._routes):
            await _redirect(scope, send)
            return
        if path.startswith(self._api_root):
            raise RegistryError(ErrorCode.NAME_UNKNOWN, {"path": path[:_QUOTED]}, message="no such path")
        await self._otherwise(scope, receive, send)


async def _redirect(scope: Scope, send: Send) -> None:
    """To the path with the slash, or without it; relative, as the client wrote it."""
    raw: bytes = scope["raw_path"]
    target = raw[:-1] if raw.endswith(b"/") else raw + b"/"
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    headers = [field(b"location", target.decode("latin-1")), (b"content-length", b"0")]
    if scope["method"] not in ("GET", "HEAD"):
        # Its body, if it has one, is not read.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 301, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
