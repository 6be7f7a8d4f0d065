"""The router: one route for each row of the descriptor table.

A route matches by one compiled expression, checks the path's parameters, asks the access controller and runs
the method's endpoint. None of it goes through FastAPI's dependencies or a thread pool.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from api_gateway.access import AccessController, AccessRecord
from api_gateway.answering import AnsweringRoute, Exchange
from api_gateway.descriptors.model import Access, Method, Route
from api_gateway.headers import HeaderList, field
from api_gateway.metrics import IN_FLIGHT
from api_gateway.request import Request
from moorage.digest import Digest, InvalidDigestError
from moorage.errors import ErrorCode, RegistryError
from moorage.reference import InvalidReferenceError, parse_name, parse_reference

Endpoint = Callable[[Request], Awaitable[None]]
Endpoints = Mapping[tuple[str, str], Endpoint]
"""The endpoint of each route name and method."""

# The shape of an upload's id. What has another one was never an upload, and never reaches a service.
_UPLOAD_ID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)

# The most of a refused parameter that its error quotes.
_QUOTED = 300


@dataclass(frozen=True, slots=True)
class RouteContext:
    """What all routes of the table need."""

    access: AccessController
    exchange: Exchange
    prefix: str
    read_only: bool


class V2Route(AnsweringRoute):
    """One row of the descriptor table as a route."""

    def __init__(self, descriptor: Route, endpoints: Endpoints, context: RouteContext) -> None:
        super().__init__(context.exchange)
        self.descriptor = descriptor
        self.name = descriptor.name
        self._access = context.access
        self._fullmatch = descriptor.pattern(context.prefix).fullmatch
        self._methods: dict[str, tuple[Method, Endpoint]] = {
            method.method: (method, endpoints[descriptor.name, method.method])
            for method in descriptor.methods
            if not (method.writes and context.read_only)
        }
        self._in_flight = IN_FLIGHT.labels(descriptor.name.replace("-", "_"))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path, whatever the method: a method that is missing is this route's to refuse."""
        if scope["type"] != "http":
            return Match.NONE, {}
        match = self._fullmatch(scope["path"])
        return (Match.NONE, {}) if match is None else (Match.FULL, {"path_params": match.groupdict()})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, which is counted meanwhile."""
        with self._in_flight.track_inprogress():
            await super().handle(scope, receive, send)

    async def answer(self, request: Request) -> None:
        """Check the path's parameters, ask the access controller, and run the method's endpoint."""
        request.record.variables = request.scope["path_params"]
        chosen = self._methods.get(request.method)
        if chosen is None:
            await self._answer_without_endpoint(request)
            return
        method, endpoint = chosen
        _parse_parameters(request)
        records = _records(method.access, request)
        request.grant = await self._access.authorize(request, records)
        request.record.user = request.grant.user
        await endpoint(request)

    def refusal_headers(self, request: Request, error: RegistryError) -> HeaderList:
        """With a method that it has not, those that it has."""
        return [self._allow(but=request.method)] if error.http_status == 405 else []

    async def _answer_without_endpoint(self, request: Request) -> None:
        if request.method == "OPTIONS":
            await request.respond(200, [self._allow()])
            return
        raise RegistryError(ErrorCode.UNSUPPORTED, {"method": request.method[:_QUOTED]})

    def _allow(self, but: str = "") -> tuple[bytes, bytes]:
        return field(b"allow", ", ".join([name for name in self._methods if name != but] + ["OPTIONS"]))


def v2_routes(table: Sequence[Route], endpoints: Endpoints, context: RouteContext) -> list[V2Route]:
    """The routes of a table. Raises KeyError when a method of the table has no endpoint."""
    return [V2Route(descriptor, endpoints, context) for descriptor in table]


def _parse_parameters(request: Request) -> None:
    for key, value in request.scope["path_params"].items():
        _PARSERS[key](request, value)


def _parse_name(request: Request, text: str) -> None:
    try:
        request.name = parse_name(text)
    except InvalidReferenceError as error:
        raise RegistryError(ErrorCode.NAME_INVALID, {"name": text[:_QUOTED], "reason": str(error)}) from error


def _parse_digest(request: Request, text: str) -> None:
    try:
        request.digest = Digest.parse(text)
    except InvalidDigestError as error:
        raise RegistryError(
            ErrorCode.DIGEST_INVALID, {"digest": text[:_QUOTED], "reason": str(error)}
        ) from error


def _parse_reference(request: Request, text: str) -> None:
    try:
        request.reference = parse_reference(text)
    except InvalidDigestError as error:
        raise RegistryError(
            ErrorCode.DIGEST_INVALID, {"digest": text[:_QUOTED], "reason": str(error)}
        ) from error
    except InvalidReferenceError as error:
        raise RegistryError(ErrorCode.TAG_INVALID, {"tag": text[:_QUOTED], "reason": str(error)}) from error


def _parse_upload_id(request: Request, text: str) -> None:
    if _UPLOAD_ID.fullmatch(text) is None:
        raise RegistryError(ErrorCode.BLOB_UPLOAD_UNKNOWN, {"uuid": text[:_QUOTED]})
    request.upload_id = text


_PARSERS: dict[str, Callable[[Request, str], None]] = {
    "name": _parse_name,
    "digest": _parse_digest,
    "reference": _parse_reference,
    "uuid": _parse_upload_id,
}


def _records(needed: Sequence[Access], request: Request) -> list[AccessRecord]:
    records = []
    for access in needed:
        name = access.name
        if access.query:
            name = request.query(access.query) or ""
            if not _is_name(name):
                # Nothing is asked of what cannot be there.
                continue
        elif name == "{name}":
            name = request.name
        records.append(AccessRecord(access.type, name, access.action, access.optional))
    return records


def _is_name(text: str) -> bool:
    try:
        parse_name(text)
    except InvalidReferenceError:
        return False
    return True
