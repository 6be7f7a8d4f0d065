"""`auth.token.server.path`: the token protocol over HTTP, and beside it the keys that verify tokens.

GET takes Basic credentials or none, and answers refusals with the registry's own envelope. POST is OAuth 2.0's
token endpoint; its refusals have both envelopes, since clients of registries read the registry's. Source:
distribution, "Token authentication specification" and "OAuth2 token authentication"; RFC 6749, section 5; RFC
7617 (Basic).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from api_gateway.access.challenge import MalformedCredentialsError, challenge, credentials
from api_gateway.connection import ClientDisconnectedError
from api_gateway.headers import HeaderList, field
from api_gateway.record import CLIENT_CLOSED_REQUEST
from api_gateway.refusal import RefusalError, envelope_headers
from api_gateway.request import Request
from api_gateway.tokens.keys import KeyRing
from api_gateway.tokens.scopes import InvalidScopeError, parse_scopes
from api_gateway.tokens.scopes import Scope as TokenScope
from api_gateway.tokens.service import Issued, LoginRefusedError, TokenService, TooManyFailuresError
from api_gateway.urls import Origins
from moorage.errors import ErrorCode, RegistryError

# Bytes of a form: 64 scopes of the longest names fit.
_LARGEST_FORM = 64 * 1024
_MOST_FIELDS = 128
_FORM = "application/x-www-form-urlencoded"

_QUOTED = 120

# Verifiers keep the keys for as long; a key is made known before it signs (docs/token-service.md).
_KEYS_AGE = 300

_NO_STORE: HeaderList = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]


class OAuthRefusalError(RefusalError):
    """A refusal with an error code of OAuth 2.0 besides the registry's."""

    def __init__(self, error: str, message: str, *, code: ErrorCode, status: int) -> None:
        super().__init__(code, message=message, http_status=status)
        self.headers = []
        self.error = error

    def envelope(self) -> bytes:
        """Both envelopes as one object."""
        body: dict[str, Any] = json.loads(super().envelope())
        body |= {"error": self.error, "error_description": self.entries[0].message}
        return json.dumps(body, separators=(",", ":")).encode()


class _OwnRoute(BaseRoute):
    """A path with methods, outside `http.prefix`."""

    name: str
    methods: tuple[str, ...]

    def __init__(self, path: str, origins: Origins, stall: float) -> None:
        self._path = path
        self._origins = origins
        self._stall = stall

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path, whatever the method."""
        return (Match.FULL if scope["type"] == "http" and scope["path"] == self._path else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive, send, origins=self._origins, stall=self._stall)
        request.record.route = self.name
        try:
            if request.method not in self.methods:
                raise RegistryError(ErrorCode.UNSUPPORTED, {"method": request.method[:_QUOTED]})
            await self.answer(request)
        except ClientDisconnectedError:
            request.record.status = CLIENT_CLOSED_REQUEST
            request.abort()
        except RegistryError as error:
            await self._refuse(request, error)

    async def answer(self, request: Request) -> None:
        """Answer a request of one of the methods, or raise RegistryError."""
        raise NotImplementedError

    async def _refuse(self, request: Request, error: RegistryError) -> None:
        request.record.error = error
        headers = [*envelope_headers(error), *_NO_STORE]
        if error.http_status == 405:
            headers.append(field(b"allow", ", ".join(self.methods)))
        try:
            await request.respond(error.http_status, headers, error.envelope())
        except ClientDisconnectedError:
            request.record.status = CLIENT_CLOSED_REQUEST


class KeysRoute(_OwnRoute):
    """The public keys, for others who verify these tokens. Source: RFC 7517, section 8.5.1."""

    name = "token-keys"
    methods = ("GET", "HEAD")

    def __init__(self, path: str, keys: KeyRing, origins: Origins, stall: float) -> None:
        super().__init__(path, origins, stall)
        self._body = json.dumps(keys.jwks, separators=(",", ":")).encode()

    async def answer(self, request: Request) -> None:
        """Serve the JWK set."""
        headers = [
            (b"content-type", b"application/jwk-set+json"),
            field(b"cache-control", f"public, max-age={_KEYS_AGE}"),
        ]
        await request.respond(200, headers, self._body)


class TokenRoute(_OwnRoute):
    """The token endpoint of the service that is called `service`."""

    name = "token"
    methods = ("GET", "POST")

    def __init__(
        self, path: str, tokens: TokenService, origins: Origins, stall: float, *, service: str
    ) -> None:
        super().__init__(path, origins, stall)
        self._tokens = tokens
        self._service = service
        self._challenge = field(b"www-authenticate", challenge("Basic", realm=service, charset="UTF-8"))

    async def answer(self, request: Request) -> None:
        """Issue a token, or raise RegistryError."""
        await (self._get(request) if request.method == "GET" else self._post(request))

    async def _get(self, request: Request) -> None:
        try:
            self._check_service(request.query_all("service"))
            scopes = parse_scopes(request.query_all("scope"))
            pair = _basic_credentials(request)
        except ValueError as error:
            raise RegistryError(ErrorCode.UNSUPPORTED, message=str(error), http_status=400) from error
        address = request.record.client
        try:
            if pair is None:
                user, grant = self._tokens.nobody(address), "anonymous"
            else:
                user, grant = await self._tokens.by_password(address, *pair), "basic"
        except LoginRefusedError as error:
            refusal = RegistryError(ErrorCode.UNAUTHORIZED, message=_refusal_of(pair is not None))
            raise RefusalError.wrap(refusal, [self._challenge]) from error
        except TooManyFailuresError as error:
            raise _too_many(RegistryError(ErrorCode.TOOMANYREQUESTS), error) from error
        refreshing = (request.query("offline_token") or "").lower() in {"true", "1"}
        await self._respond(
            request, user, self._tokens.issue(user, scopes, grant=grant, refreshing=refreshing)
        )

    async def _post(self, request: Request) -> None:
        form = await _form(request)
        try:
            self._check_service(_all(form, "service"))
            grant_type = _one(form, "grant_type")
            if not grant_type:
                raise ValueError("grant_type is missing")
            refresh_token = _one(form, "refresh_token")
            username, password = _one(form, "username"), _one(form, "password")
            if grant_type == "password" and not (username and password):
                raise ValueError("username or password is missing")
            if grant_type == "refresh_token" and not refresh_token:
                raise ValueError("refresh_token is missing")
            refreshing = _one(form, "access_type") == "offline"
            scopes = _scopes(form)
        except InvalidScopeError as error:
            raise _bad_request("invalid_scope", str(error)) from error
        except ValueError as error:
            raise _bad_request("invalid_request", str(error)) from error
        if grant_type not in {"password", "refresh_token"}:
            raise _bad_request("unsupported_grant_type", "grant_type must be password or refresh_token")
        address = request.record.client
        try:
            if grant_type == "password":
                user = await self._tokens.by_password(address, username, password)
            else:
                user = self._tokens.by_refresh_token(address, refresh_token)
        except LoginRefusedError as error:
            # 401, where RFC 6749 has 400: clients of registries try Basic credentials after it.
            raise OAuthRefusalError(
                "invalid_grant", _refusal_of(True), code=ErrorCode.UNAUTHORIZED, status=401
            ) from error
        except TooManyFailuresError as error:
            refusal = OAuthRefusalError(
                "temporarily_unavailable",
                ErrorCode.TOOMANYREQUESTS.message,
                code=ErrorCode.TOOMANYREQUESTS,
                status=429,
            )
            raise _too_many(refusal, error) from error
        issued = self._tokens.issue(
            user, scopes, grant=grant_type, refreshing=refreshing and grant_type == "password"
        )
        # Whoever came with a refresh token keeps it: a new one would make it last for ever.
        kept = refresh_token if refreshing and grant_type == "refresh_token" else ""
        scope = " ".join(map(str, issued.granted))
        await self._respond(request, user, issued, refresh_token=kept, scope=scope)

    def _check_service(self, given: Sequence[str]) -> None:
        for service in given:
            if service != self._service:
                raise ValueError(f"no such service: {service[:_QUOTED]!r}; this one is {self._service!r}")

    async def _respond(
        self, request: Request, user: str, issued: Issued, *, refresh_token: str = "", **further: str
    ) -> None:
        request.record.user = user
        token = issued.token
        body: dict[str, Any] = {
            "token": token.text,
            "access_token": token.text,
            "expires_in": token.lifetime,
            "issued_at": datetime.fromtimestamp(token.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **further,
        }
        if refresh_token or issued.refresh_token:
            body["refresh_token"] = refresh_token or issued.refresh_token
        headers = [(b"content-type", b"application/json"), *_NO_STORE]
        await request.respond(200, headers, json.dumps(body, separators=(",", ":")).encode())


def _basic_credentials(request: Request) -> tuple[str, str] | None:
    """User and password; None when nothing was sent. Raises ValueError that quotes nothing of them."""
    try:
        given = credentials(request.headers, "basic")
        if given is None:
            return None
        user, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
    except MalformedCredentialsError as error:
        raise ValueError(f"Authorization: {error}") from error
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("Authorization: not Basic credentials in UTF-8") from error
    if not colon or not user:
        raise ValueError("Authorization: not Basic credentials of a user and a password")
    return user, password


async def _form(request: Request) -> list[tuple[str, str]]:
    if request.content_type != _FORM:
        raise _bad_request("invalid_request", f"the body must be {_FORM}")
    body = await request.read_body(_LARGEST_FORM)
    if body is None:
        raise OAuthRefusalError(
            "invalid_request",
            f"the form is larger than {_LARGEST_FORM} bytes",
            code=ErrorCode.SIZE_INVALID,
            status=413,
        )
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        # The library's sentence may quote what it read.
        raise _bad_request("invalid_request", "not a form in UTF-8, or too many fields") from error


def _all(form: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in form if key == name]


def _one(form: Sequence[tuple[str, str]], name: str) -> str:
    """The field's value; "" when there is none. Raises ValueError when there are several."""
    values = _all(form, name)
    if len(values) > 1:
        raise ValueError(f"{name} is there more than once")
    return values[0] if values else ""


def _scopes(form: Sequence[tuple[str, str]]) -> list[TokenScope]:
    return parse_scopes(_all(form, "scope"))


def _refusal_of(given: bool) -> str:
    return "the credentials are not valid" if given else ErrorCode.UNAUTHORIZED.message


def _bad_request(error: str, message: str) -> OAuthRefusalError:
    return OAuthRefusalError(error, message, code=ErrorCode.UNSUPPORTED, status=400)


def _too_many(refusal: RegistryError, error: TooManyFailuresError) -> RegistryError:
    after = [field(b"retry-after", str(error.seconds))]
    if isinstance(refusal, OAuthRefusalError):
        refusal.headers = after
        return refusal
    return RefusalError.wrap(refusal, after)
