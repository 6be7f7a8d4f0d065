"""`/v2/`: whether this is a registry, and whether the client may talk to it. `/`: whether it is alive."""

from __future__ import annotations

from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from api_gateway.openroute import OpenRoute
from api_gateway.request import Request

_JSON = (b"content-type", b"application/json")


async def get_base(request: Request) -> None:
    """Say that the API is here."""
    await request.respond(200, [_JSON], b"{}")


class AliveRoute(OpenRoute, because="it says that the process lives, and nothing else"):
    """`/`, outside `http.prefix`: an empty 200 to any method, for load balancers."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match `/` alone."""
        return (Match.FULL if scope["type"] == "http" and scope["path"] == "/" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        headers = [(b"cache-control", b"no-cache"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
