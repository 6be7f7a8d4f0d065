"""What a client says when it asks for a token: credentials in a header, or a form.

Source: RFC 7617 (Basic); RFC 6749, section 4.3 and 6.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from api_gateway.access.challenge import MalformedCredentialsError, credentials
from api_gateway.headers import Headers
from api_gateway.tokens.scopes import Scope, parse_scopes

_MOST_FIELDS = 128

PASSWORD, REFRESH_TOKEN = "password", "refresh_token"


class MalformedFormError(ValueError):
    """The form cannot be read. It quotes nothing of a secret."""

    def __init__(self, message: str, error: str = "invalid_request") -> None:
        """`error` is the code of RFC 6749, section 5.2."""
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True)
class TokenForm:
    """A form of the token endpoint; what does not go with its grant is empty."""

    grant: str
    services: tuple[str, ...]
    scopes: tuple[Scope, ...]
    username: str
    password: str = field(repr=False)
    refresh_token: str = field(repr=False)
    offline: bool = False
    """A refresh token is asked for."""


def basic_credentials(headers: Headers) -> tuple[str, str] | None:
    """User and password; None when nothing was sent. Raises ValueError that quotes nothing of them."""
    try:
        given = credentials(headers, "basic")
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


def parse_form(body: bytes) -> TokenForm:
    """The form in a body. Raises MalformedFormError, and InvalidScopeError."""
    fields = _fields(body)
    grant = _one(fields, "grant_type")
    if not grant:
        raise MalformedFormError("grant_type is missing")
    if grant not in {PASSWORD, REFRESH_TOKEN}:
        raise MalformedFormError("grant_type must be password or refresh_token", "unsupported_grant_type")
    needed = ("username", "password") if grant == PASSWORD else ("refresh_token",)
    secrets = {name: _one(fields, name) for name in needed}
    for name, value in secrets.items():
        if not value:
            raise MalformedFormError(f"{name} is missing")
    return TokenForm(
        grant=grant,
        services=tuple(_all(fields, "service")),
        scopes=tuple(parse_scopes(_all(fields, "scope"))),
        username=secrets.get("username", ""),
        password=secrets.get("password", ""),
        refresh_token=secrets.get("refresh_token", ""),
        offline=_one(fields, "access_type") == "offline",
    )


def _fields(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        # The library's sentence may quote what it read.
        raise MalformedFormError("not a form in UTF-8, or too many fields") from error


def _all(fields: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in fields if key == name]


def _one(fields: list[tuple[str, str]], name: str) -> str:
    """The field's value; "" when there is none. Raises MalformedFormError when there are several."""
    values = _all(fields, name)
    if len(values) > 1:
        raise MalformedFormError(f"{name} is there more than once")
    return values[0] if values else ""
