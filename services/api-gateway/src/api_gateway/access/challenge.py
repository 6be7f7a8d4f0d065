"""The value of `WWW-Authenticate`, and what stands in `Authorization`.

Source: RFC 9110, section 11; distribution's docs/spec/auth.
"""

from __future__ import annotations

from collections.abc import Sequence

from api_gateway.access.interface import AccessRecord
from api_gateway.headers import Headers


class MalformedCredentialsError(ValueError):
    """The credentials cannot be read. `str()` holds nothing of them."""


def challenge(scheme: str, **parameters: str) -> str:
    """The value of `WWW-Authenticate`: the parameters in order as quoted strings, without the empty ones.

    The values are the operator's or of checked grammar, and hold no control characters.
    """
    return f"{scheme} " + ",".join(f"{name}={_quoted(value)}" for name, value in parameters.items() if value)


def scope_of(records: Sequence[AccessRecord]) -> str:
    """The scope that covers the records: `type:name:action,action` for each resource, with spaces between."""
    actions: dict[tuple[str, str], list[str]] = {}
    for record in records:
        asked = actions.setdefault((record.type, record.name), [])
        if record.action not in asked:
            asked.append(record.action)
    return " ".join(f"{type_}:{name}:{','.join(asked)}" for (type_, name), asked in actions.items())


def credentials(headers: Headers, scheme: str) -> str | None:
    """What follows the scheme (lower case) in `Authorization`; None when nothing was sent.

    Raises MalformedCredentialsError for another scheme, and for more than one field.
    """
    lines = headers.lines(b"authorization")
    if not lines:
        return None
    if len(lines) > 1:
        raise MalformedCredentialsError("more than one Authorization field")
    given, _, rest = lines[0].strip().partition(" ")
    if not given:
        return None
    if given.lower() != scheme:
        raise MalformedCredentialsError("another scheme than was asked for")
    return rest.strip()


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
