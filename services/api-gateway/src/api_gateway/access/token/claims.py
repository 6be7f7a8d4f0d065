"""What a token says: for whom, from whom, from when to when, and what may be done with it.

Types are taken strictly: a number is a number, not a text that looks like one. Source: RFC 7519, section 4.1;
distribution's docs/spec/auth/jwt.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from api_gateway.access.interface import Resource
from api_gateway.access.token.errors import InvalidTokenError

# Seconds by which clocks may differ; distribution's.
LEEWAY = 60.0

# No time that a token is about is later: the year 275760. Not a number is not less, either.
_LATEST = 8_640_000_000_000


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token that was for this registry when it was read."""

    subject: str
    resources: tuple[Resource, ...]
    not_before: float
    """Seconds since 1970, without the leeway; `expires` too."""

    expires: float

    def check_time(self, now: float) -> None:
        """Raise InvalidTokenError unless the token is good at that time."""
        if now > self.expires + LEEWAY:
            raise InvalidTokenError("expired")
        if now < self.not_before - LEEWAY:
            raise InvalidTokenError("not valid yet")


def claims_of(payload: dict[str, Any], *, issuer: str, service: str) -> Claims:
    """The claims, checked but for the time. Raises InvalidTokenError."""
    if payload.get("iss") != issuer:
        raise InvalidTokenError("of another issuer")
    if service not in _audience(payload.get("aud")):
        raise InvalidTokenError("for another audience")
    expires = _time(payload, "exp")
    if expires is None:
        raise InvalidTokenError("without an end (exp)")
    not_before = _time(payload, "nbf")
    _time(payload, "iat")
    _text(payload, "jti")
    return Claims(
        subject=_text(payload, "sub"),
        resources=_resources(payload.get("access")),
        not_before=-math.inf if not_before is None else not_before,
        expires=expires,
    )


def _audience(value: Any) -> list[str]:
    audience = [value] if isinstance(value, str) else value
    if not isinstance(audience, list) or not all(isinstance(each, str) for each in audience):
        raise InvalidTokenError("the audience (aud) is neither a text nor a list of texts")
    return audience


def _time(payload: dict[str, Any], name: str) -> float | None:
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LATEST:
        return float(value)
    raise InvalidTokenError(f"{name} is not a time")


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidTokenError(f"{name} is not a text")
    return value


def _resources(value: Any) -> tuple[Resource, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidTokenError("access is not a list")
    return tuple(_resource(entry) for entry in value)


def _resource(entry: Any) -> Resource:
    if not isinstance(entry, dict):
        raise InvalidTokenError("an entry of access is not an object")
    kind, name, actions = entry.get("type"), entry.get("name"), entry.get("actions")
    class_name = entry.get("class")
    if actions is None:
        actions = []
    if (
        not (isinstance(kind, str) and isinstance(name, str) and isinstance(actions, list))
        or not all(isinstance(action, str) for action in actions)
        or not isinstance(class_name, str | None)
    ):
        raise InvalidTokenError("an entry of access is malformed")
    return Resource(kind, name, frozenset(actions), class_name or "")
