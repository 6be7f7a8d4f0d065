"""`auth.token.server.path`: the token protocol over HTTP, and beside it the keys that verify tokens.

GET takes Basic credentials or none, and answers refusals with the registry's own envelope. POST is the token
endpoint of OAuth 2.0; its refusals have both envelopes, since clients of registries read the registry's.
Source: distribution, "Token authentication specification" and "OAuth2 token authentication"; RFC 6749,
section 5.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from starlette.routing import Match
from starlette.types import Scope

from api_gateway.access.challenge import challenge
from api_gateway.access.htpasswd.attempts import TooManyFailuresError
from api_gateway.answering import AnsweringRoute, Exchange
from api_gateway.headers import HeaderList, field
from api_gateway.openroute import OpenRoute
from api_gateway.refusal import RefusalError, retry_after
from api_gateway.request import Request
from api_gateway.tokens.forms import PASSWORD, MalformedFormError, basic_credentials, parse_form
from api_gateway.tokens.keys import KeyRing
from api_gateway.tokens.scopes import InvalidScopeError, parse_scopes
from api_gateway.tokens.service import Issued, LoginRefusedError, TokenService
from moorage.errors import ErrorCode, RegistryError

# Bytes of a form: 64 scopes of the longest names fit.
_LARGEST_FORM = 64 * 1024
_FORM = "application/x-www-form-urlencoded"

_QUOTED = 120
_NOT_VALID = "the credentials are not valid"

# Verifiers keep the keys for as long; a key is made known before it signs (docs/token-service.md).
_KEYS_AGE = 300

_NO_STORE: HeaderList = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]


class OAuthRefusalError(RefusalError):
    """A refusal with an error code of OAuth 2.0 besides the registry's."""

    def __init__(
        self, error: str, message: str, *, code: ErrorCode, status: int, headers: HeaderList | None = None
    ) -> None:
        super().__init__(code, message=message, http_status=status)
        self.headers = headers or []
        self.error = error

    def envelope(self) -> bytes:
        """Both envelopes as one object."""
        body: dict[str, Any] = json.loads(super().envelope())
        body |= {"error": self.error, "error_description": self.entries[0].message}
        return json.dumps(body, separators=(",", ":")).encode()


class _OwnRoute(AnsweringRoute, OpenRoute, because="it is how clients come in"):
    """A path with methods, outside `http.prefix`."""

    methods: tuple[str, ...]

    def __init__(self, path: str, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._path = path

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path, whatever the method."""
        return (Match.FULL if scope["type"] == "http" and scope["path"] == self._path else Match.NONE), {}

    async def answer(self, request: Request) -> None:
        """Answer a request of one of the methods."""
        if request.method not in self.methods:
            raise RegistryError(ErrorCode.UNSUPPORTED, {"method": request.method[:_QUOTED]})
        await self.answer_method(request)

    @abstractmethod
    async def answer_method(self, request: Request) -> None:
        """The same, once the method is known to be one of them."""

    def refusal_headers(self, request: Request, error: RegistryError) -> HeaderList:
        """What is refused here is no more to be stored than what is granted."""
        allow = [field(b"allow", ", ".join(self.methods))] if error.http_status == 405 else []
        return [*_NO_STORE, *allow]


class KeysRoute(_OwnRoute, because="public keys are for everybody"):
    """The public keys, for others who verify these tokens. Source: RFC 7517, section 8.5.1."""

    name = "token-keys"
    methods = ("GET", "HEAD")

    def __init__(self, path: str, keys: KeyRing, exchange: Exchange) -> None:
        super().__init__(path, exchange)
        self._body = json.dumps(keys.jwks, separators=(",", ":")).encode()

    async def answer_method(self, request: Request) -> None:
        """Serve the JWK set."""
        headers = [
            (b"content-type", b"application/jwk-set+json"),
            field(b"cache-control", f"public, max-age={_KEYS_AGE}"),
        ]
        await request.respond(200, headers, self._body)


class TokenRoute(_OwnRoute, because="it looks at passwords and refresh tokens itself"):
    """The token endpoint of the service that is called `service`."""

    name = "token"
    methods = ("GET", "POST")

    def __init__(self, path: str, tokens: TokenService, exchange: Exchange, *, service: str) -> None:
        super().__init__(path, exchange)
        self._tokens = tokens
        self._service = service
        self._challenge = field(b"www-authenticate", challenge("Basic", realm=service, charset="UTF-8"))

    async def answer_method(self, request: Request) -> None:
        """Issue a token, or raise RegistryError."""
        await (self._get(request) if request.method == "GET" else self._post(request))

    async def _get(self, request: Request) -> None:
        try:
            self._check_service(request.query_all("service"))
            scopes = parse_scopes(request.query_all("scope"))
            pair = basic_credentials(request.headers)
        except ValueError as error:
            raise RegistryError(ErrorCode.UNSUPPORTED, message=str(error), http_status=400) from error
        address = request.record.client
        try:
            if pair is None:
                user, grant = self._tokens.nobody(), "anonymous"
            else:
                user, grant = await self._tokens.by_password(address, *pair), "basic"
        except LoginRefusedError as error:
            message = ErrorCode.UNAUTHORIZED.message if pair is None else _NOT_VALID
            refusal = RegistryError(ErrorCode.UNAUTHORIZED, message=message)
            raise RefusalError.wrap(refusal, [self._challenge]) from error
        except TooManyFailuresError as error:
            raise RefusalError.wrap(
                RegistryError(ErrorCode.TOOMANYREQUESTS), [retry_after(error.seconds)]
            ) from error
        refreshing = (request.query("offline_token") or "").lower() in {"true", "1"}
        issued = self._tokens.issue(user, scopes, grant=grant, refreshing=refreshing)
        await self._respond(request, user, issued)

    async def _post(self, request: Request) -> None:
        try:
            form = parse_form(await _form_body(request))
            self._check_service(form.services)
        except MalformedFormError as error:
            raise _bad_request(error.error, str(error)) from error
        except InvalidScopeError as error:
            raise _bad_request("invalid_scope", str(error)) from error
        except ValueError as error:
            raise _bad_request("invalid_request", str(error)) from error
        address = request.record.client
        by_password = form.grant == PASSWORD
        try:
            if by_password:
                user = await self._tokens.by_password(address, form.username, form.password)
            else:
                user = self._tokens.by_refresh_token(address, form.refresh_token)
        except LoginRefusedError as error:
            # 401, where RFC 6749 has 400: clients of registries try Basic credentials after it.
            raise OAuthRefusalError(
                "invalid_grant", _NOT_VALID, code=ErrorCode.UNAUTHORIZED, status=401
            ) from error
        except TooManyFailuresError as error:
            raise OAuthRefusalError(
                "temporarily_unavailable",
                ErrorCode.TOOMANYREQUESTS.message,
                code=ErrorCode.TOOMANYREQUESTS,
                status=429,
                headers=[retry_after(error.seconds)],
            ) from error
        issued = self._tokens.issue(
            user, form.scopes, grant=form.grant, refreshing=form.offline and by_password
        )
        # Whoever came with a refresh token keeps it: a new one each time would make it last for ever.
        kept = form.refresh_token if form.offline else ""
        await self._respond(
            request, user, issued, refresh_token=kept, scope=" ".join(map(str, issued.granted))
        )

    def _check_service(self, given: Iterable[str]) -> None:
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


async def _form_body(request: Request) -> bytes:
    if request.content_type != _FORM:
        raise MalformedFormError(f"the body must be {_FORM}")
    body = await request.read_body(_LARGEST_FORM)
    if body is None:
        raise OAuthRefusalError(
            "invalid_request",
            f"the form is larger than {_LARGEST_FORM} bytes",
            code=ErrorCode.SIZE_INVALID,
            status=413,
        )
    return body


def _bad_request(error: str, message: str) -> OAuthRefusalError:
    return OAuthRefusalError(error, message, code=ErrorCode.UNSUPPORTED, status=400)
