"""What a configuration comes to, as a document again: every key with its value, and no secret.

A secret is shown as `***`: a `Secret`, what a model keeps out of its `repr`, a password in a URL and what its
query says, and in maps with free keys whatever is called like one.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from moorage.config.duration import format_duration
from moorage.config.schema import has_mark
from moorage.config.section import Section
from moorage.config.values import DURATION

HIDDEN = "***"

_SECRET_KEY = re.compile(
    r"passw|secret|token|credential|apikey|licensekey|accountkey|privatekey|authorization", re.I
)

# A URL's user information, up to its @.
_USER_INFO = re.compile(r"(?<=://)[^/?#\s@]*@")

# What a URL's query says, behind a parameter's name: webhooks are often known by a key in it.
_QUERY_VALUE = re.compile(r"(?<==)[^&#\s]+")


def effective(section: Section) -> dict[str, Any]:
    """A section as maps, lists and scalars of JSON, keyed as the YAML is; durations as Go writes them.

    Keys without a value are left out.
    """
    values = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if value is not None:
            values[field.alias or name] = shown(value, field)
    return values


def shown(value: Any, field: FieldInfo) -> Any:
    """A field's value as it is shown."""
    if isinstance(value, Section):
        return effective(value)
    if isinstance(value, tuple):
        return [shown(item, field) for item in value]
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, dict):
        return {key: _free(key, each, hidden=not field.repr) for key, each in value.items()}
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and has_mark(field, DURATION):
        return format_duration(value)
    return _scalar(value)


def _free(key: str, value: Any, *, hidden: bool) -> Any:
    """A value under a key that no model has."""
    if isinstance(value, dict):
        return {name: _free(name, each, hidden=hidden) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_free(key, each, hidden=hidden) for each in value]
    if value is not None and (hidden or _SECRET_KEY.search(key)):
        return HIDDEN
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value)
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, str):
        return _without_query_values(without_user_info(value))
    return value


def _without_query_values(text: str) -> str:
    url, mark, query = text.partition("?")
    if not mark or "://" not in url:
        return text
    return f"{url}?{_QUERY_VALUE.sub(HIDDEN, query)}"


def without_user_info(text: str) -> str:
    """A text in which URLs have no user and no password."""
    return _USER_INFO.sub(f"{HIDDEN}@", text)
