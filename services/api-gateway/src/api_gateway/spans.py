"""A span for each request, while tracing is on; otherwise nothing of this is around the application."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway.descriptors import TABLE
from api_gateway.forwarded import Trust, peer_of
from api_gateway.headers import Headers
from api_gateway.record import RECORD_KEY, RequestRecord
from moorage import tracing

_PATHS = {route.name: route.path for route in TABLE}

# What a span's name begins with when the method is none of these. Source: OpenTelemetry, HTTP spans.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "HTTP"


class Spans:
    """Surrounds an application that makes a record of each request.

    A `traceparent` counts when it comes from a peer that is trusted with `X-Forwarded-*`, too: it decides
    whether a request is sampled.
    """

    def __init__(self, app: ASGIApp, *, trusts: Trust, unix: bool) -> None:
        self._app = app
        self._trusts = trusts
        self._unix = unix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope["headers"])
        peer = peer_of(scope, unix=self._unix)
        method = scope["method"] if scope["method"] in _METHODS else _OTHER
        attributes = {
            "http.request.method": method,
            "url.scheme": scope["scheme"],
            "url.path": scope["raw_path"].decode("latin-1")[:2000],
            "network.protocol.version": scope["http_version"],
            "user_agent.original": (headers.get(b"user-agent") or "")[:500],
        }
        span = tracing.enter_server_span(method, self._carrier(headers, peer), attributes)
        try:
            await self._app(scope, receive, send)
        finally:
            record: RequestRecord = scope[RECORD_KEY]
            route = _PATHS.get(record.route, "")
            span.update_name(f"{method} {route}" if route else method)
            failed = str(record.status) if record.status >= 500 else None
            answered: dict[str, str | int] = {
                "http.response.status_code": record.status,
                "http.response.body.size": record.written,
                "client.address": record.client,
                **({"http.route": route} if route else {}),
            }
            tracing.leave_server_span(span, failed, answered)

    def _carrier(self, headers: Headers, peer: str | None) -> dict[str, str]:
        if b"traceparent" not in headers or not self._trusts(peer):
            return {}
        fields = {"traceparent": headers.get(b"traceparent"), "tracestate": headers.get(b"tracestate")}
        return {name: value for name, value in fields.items() if value is not None}
