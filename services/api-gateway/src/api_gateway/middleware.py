"""What surrounds every request, as plain ASGI: the record, the common headers, the gate and the last resort.

From the outside in: `Recording`, `CommonHeaders`, `LastResort`, `Gate`, then the router.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway import metrics
from api_gateway.accesslog import AccessLog, combined_line
from api_gateway.connection import ABORT, LENT_RESPONSE
from api_gateway.forwarded import Trust, client_address, is_host, peer_of
from api_gateway.headers import HeaderList, Headers, field
from api_gateway.health import HealthState
from api_gateway.logcontext import request_fields
from api_gateway.record import CLIENT_CLOSED_REQUEST, RECORD_KEY, RequestRecord
from api_gateway.refusal import envelope_headers
from moorage import context
from moorage.config.duration import format_duration
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger("api_gateway")

API_VERSION = (b"docker-distribution-api-version", b"registry/2.0")


class Recording:
    """Gives each request its id and its record, and tells log, access log and metrics when it is over."""

    def __init__(self, app: ASGIApp, *, trusts: Trust, unix: bool, access_log: AccessLog | None) -> None:
        self._app = app
        self._trusts = trusts
        self._unix = unix
        self._access_log = access_log
        # Each request that went well leaves one line: in the access log, where there is one.
        self._completion_level = logging.INFO if access_log is None else logging.DEBUG

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope["headers"])
        peer = peer_of(scope, unix=self._unix)
        given_id = headers.get(b"x-request-id")
        if given_id is not None and not self._trusts(peer):
            given_id = None
        context.request_id.set(context.accept_request_id(given_id) if given_id else context.new_request_id())
        record = RequestRecord(peer=peer, client=client_address(peer, headers, self._trusts))
        scope[RECORD_KEY] = record
        context.log_fields.set(partial(request_fields, record, scope))
        completed = False

        async def recording_send(message: Message) -> None:
            nonlocal completed
            kind = message["type"]
            if kind == "http.response.body":
                record.written += len(message.get("body", b""))
                completed = not message.get("more_body", False)
                await send(message)
                return
            record.status = message["status"]
            record.content_type = _content_type(message["headers"])
            try:
                await send(message)
                completed = kind == LENT_RESPONSE
            finally:
                record.written += message.get("written", 0)

        try:
            await self._app(scope, receive, recording_send)
        finally:
            if not completed and record.error is None:
                record.status = CLIENT_CLOSED_REQUEST
            self._finish(record, scope, completed)

    def _finish(self, record: RequestRecord, scope: Scope, completed: bool) -> None:
        if record.route:
            metrics.observe(record, scope["method"])
        if self._access_log is not None:
            self._access_log.add(combined_line(record, scope, time.time()))
        level = self._completion_level if completed else logging.INFO
        if record.error is not None or log.is_enabled_for(level):
            _log_completion(record, scope, level, completed)


def _content_type(headers: HeaderList) -> str:
    for name, value in headers:
        if name == b"content-type":
            return value.decode("latin-1")
    return ""


def _log_completion(record: RequestRecord, scope: Scope, level: int, completed: bool) -> None:
    error = record.error
    fields = request_fields(record, scope)
    fields["http.response.status"] = record.status
    fields["http.response.written"] = record.written
    fields["http.response.contenttype"] = record.content_type
    fields["http.response.duration"] = format_duration(record.elapsed())
    if error is None:
        log.log(level, "response completed" if completed else "client went away", **fields)
        return
    # As distribution writes it: "manifest unknown".
    fields["err.code"] = error.code.name.lower().replace("_", " ")
    fields["err.message"] = error.entries[0].message or error.code.message
    if error.entries[0].detail is not None:
        fields["err.detail"] = error.entries[0].detail
    if not completed:
        log.error("response cut short", **fields)
    elif error.http_status >= 500:
        log.error("response completed with error", **fields)
    else:
        log.info("response completed with error", **fields)


class CommonHeaders:
    """Adds the API version and the fields of `http.headers` to every answer."""

    def __init__(self, app: ASGIApp, *, headers: Mapping[str, Sequence[str]]) -> None:
        self._app = app
        self._fields: HeaderList = [API_VERSION]
        for name, values in headers.items():
            self._fields.extend(field(name.lower().encode("ascii"), value) for value in values)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] != "http.response.body":
                message["headers"] = [*self._fields, *message.get("headers", ())]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class LastResort:
    """Answers what nobody expected with 500 UNKNOWN, and refusals from outside the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watching_send(message: Message) -> None:
            nonlocal started
            # A message that lends the connection says itself whether the answer began.
            try:
                await send(message)
            finally:
                started = started or message.get("started", True)

        try:
            await self._app(scope, receive, watching_send)
        except RegistryError as error:
            await self._answer(scope, send, error, started)
        except Exception:
            log.critical("unexpected error in a request", exc_info=True)
            await self._answer(scope, send, RegistryError(ErrorCode.UNKNOWN), started)

    async def _answer(self, scope: Scope, send: Send, error: RegistryError, started: bool) -> None:
        scope[RECORD_KEY].error = error
        if started:
            scope["extensions"][ABORT]()
        else:
            await send_envelope(scope, send, error)


class Gate:
    """Lets no request through while a health check fails, and none whose Host header names no host.

    Source: RFC 9112, section 3.2: a request of HTTP/1.1 without exactly one valid Host is answered with 400.
    """

    def __init__(self, app: ASGIApp, *, health: HealthState) -> None:
        self._app = app
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise RegistryError."""
        if scope["type"] == "http":
            if self._health.failing:
                raise RegistryError(
                    ErrorCode.UNAVAILABLE, "health check failed: please see /debug/health on the debug server"
                )
            _check_host(scope)
        await self._app(scope, receive, send)


def _check_host(scope: Scope) -> None:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts and scope["http_version"] != "1.1":
        return
    if len(hosts) != 1 or not is_host(hosts[0].decode("latin-1")):
        raise RegistryError(
            ErrorCode.UNSUPPORTED, message="missing, repeated or malformed Host header", http_status=400
        )


async def send_envelope(scope: Scope, send: Send, error: RegistryError) -> None:
    """Answer with an error from outside the routes; the connection is closed, for a body may not be read."""
    body = error.envelope()
    headers = envelope_headers(error)
    headers.append(field(b"content-length", str(len(body))))
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
