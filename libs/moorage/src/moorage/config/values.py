"""The kinds of value that a key can have, each with the sentence that refuses another kind.

The sentences are what an operator reads after the key, so they quote the value, but never a secret's.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo, WithJsonSchema

from moorage.config.document import resolved, resolved_deep
from moorage.config.duration import parse_duration
from moorage.config.size import parse_size

_Number = TypeVar("_Number", int, float)

WARNINGS = "warnings"

# Marks the fields that hold a duration.
DURATION = "duration"

# struct sockaddr_un holds 108 bytes, the last of them a NUL.
UNIX_PATH_MAX = 107

# What an address of a service begins with that is looked up in DNS again and again.
DNS = "dns:///"

_WHOLE_NUMBER = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_PORT = re.compile(r"\d{1,5}", re.ASCII)
_NOT_IN_HOST = re.compile(r"[\s/\[\]@\x00-\x1f\x7f]")
# RFC 9110: a field's name is a token; its value holds no control characters but tabs.
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_NOT_IN_FIELD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def warn(info: ValidationInfo, sentence: str) -> None:
    """Add a warning to the configuration that is being read, when somebody collects them."""
    if info.context is not None:
        info.context[WARNINGS].append(sentence)


def kind(value: Any) -> str:
    """What a value is, in a few words for a sentence about it."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value)


def as_list(value: Any) -> Any:
    """A validator that takes one scalar for a list of it."""
    return [value] if isinstance(value, str | bool | int | float) else value


def one_of(*choices: str, any_case: bool = False) -> Callable[[Any], str]:
    """A validator that takes one of these words, which are lower case."""

    def choose(value: Any) -> str:
        if isinstance(value, str):
            word = value.lower() if any_case else str(value)
            if word in choices:
                return word
        raise ValueError(f"must be one of {', '.join(choices)}, not {kind(value)}")

    return choose


def split_host_port(text: str) -> tuple[str, int]:
    """Host (may be empty; without brackets) and port (0 to 65535) of `host:port`, `:port` or `[v6]:port`.

    Raises ValueError.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if (
        not colon
        or _PORT.fullmatch(port) is None
        or int(port) > 65535
        or (":" in host) != bracketed
        or _NOT_IN_HOST.search(host)
    ):
        raise ValueError(f"not host:port: {text!r}")
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """`host:port`, or `[v6]:port`: what `split_host_port` splits."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host, of those that `split_host_port` gives, is this one: what goes there passes no net."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unix_socket_path(path: str) -> str:
    """The path, when a socket can be bound to it; raises ValueError."""
    if not path or "\0" in path:
        raise ValueError("must be the path of a unix socket")
    if len(path.encode()) > UNIX_PATH_MAX:
        raise ValueError(f"longer than a unix socket's path can be ({UNIX_PATH_MAX} bytes): {path!r}")
    return path


def not_empty(value: str) -> str:
    """A validator that takes any text but the empty one."""
    if not value:
        raise ValueError("must not be empty")
    return value


def more_than_zero(value: _Number) -> _Number:
    """A validator that takes a number that is neither zero nor negative."""
    if value <= 0:
        raise ValueError("must be more than zero")
    return value


def one_or_more(value: int) -> int:
    """A validator that takes a whole number above zero, and names another one."""
    if value < 1:
        raise ValueError(f"must be at least 1: {value}")
    return value


def empty_is_none(value: Any) -> Any:
    """A validator that takes an empty text for none, as Go's parser does."""
    return None if isinstance(value, str) and not value else value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"must be text, not {kind(value)}")


def _secret(value: Any) -> SecretStr | None:
    if isinstance(value, SecretStr):
        return value
    # An empty secret is none: distribution makes one up then, too.
    return SecretStr(_text(value)) if _text(value) else None


def _flag(value: Any) -> bool:
    value = resolved(value)
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {kind(value)}")


def _integer(value: Any) -> int:
    value = resolved(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    raise ValueError(f"must be a whole number, not {kind(value)}")


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError(f"must not be negative: {value}")
    return value


def _word_or_number(value: Any, what: str) -> str | int:
    value = resolved(value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise ValueError(f"not {what}: {kind(value)}")


def _seconds(value: Any) -> float:
    value = _word_or_number(value, "a duration")
    seconds = parse_duration(value)
    if seconds < 0:
        raise ValueError(f"must not be negative: {value!r}")
    return seconds


def _bytes(value: Any) -> int:
    return parse_size(_word_or_number(value, "a size"))


def _host_port(value: str) -> str:
    split_host_port(value)
    return value


def _absolute_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        shown = "" if "@" in value else f": {value!r}"  # what stands before an @ may be a password
        raise ValueError(f"not an absolute http or https URL{shown}")
    return value


def _pattern(value: Any) -> re.Pattern[str]:
    if isinstance(value, re.Pattern):
        return value
    text = _text(value)
    try:
        with warnings.catch_warnings():
            # Python warns of a construct (`[[:alpha:]]`) that means something else to it than to Go.
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, Warning, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {text!r}: {error}") from error


IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(value: Any) -> IPNetwork:
    if isinstance(value, IPNetwork):
        return value
    text = _text(value)
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"not a network in CIDR notation: {error}") from error


def _headers(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for name, lines in value.items():
        if _FIELD_NAME.fullmatch(name) is None:
            raise ValueError(f"not the name of a header: {name!r}")
        if any(_NOT_IN_FIELD_VALUE.search(line) for line in lines):
            raise ValueError(f"the value of {name} holds characters that a header cannot have")
    return value


# For editors (`moorage config schema`): what may stand in the document, where that is not what a model keeps.
_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_DURATION_SCHEMA = {
    "type": ["string", "integer", "null"],
    "pattern": r"^\+?(0|((\d+\.?\d*|\.\d+)(ns|us|\u00b5s|ms|s|m|h))+)$",
    "description": "a duration, such as 10s or 1h30m; a bare number is nanoseconds",
}
_SIZE_SCHEMA = {
    "type": ["string", "integer", "null"],
    "pattern": r"^\d+(\.\d+)?\s*([kKmMgGtT]([iI])?[bB]|[bB])?$",
    "description": "a size: bytes, or a number with kB, MB, GB, TB, KiB, MiB, GiB or TiB",
}
_LINES_SCHEMA = {"type": ["array", "string", "number", "boolean", "null"], "items": _SCALAR}

Text = Annotated[str, BeforeValidator(_text), WithJsonSchema(_SCALAR)]
Secret = Annotated[SecretStr | None, BeforeValidator(_secret), WithJsonSchema({**_SCALAR, "writeOnly": True})]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": ["boolean", "null"]})]
_WHOLE = {"type": ["integer", "string", "null"], "pattern": r"^[-+]?\d{1,18}$"}
Integer = Annotated[int, BeforeValidator(_integer), WithJsonSchema(_WHOLE)]
Count = Annotated[
    int, BeforeValidator(_integer), AfterValidator(_not_negative), WithJsonSchema({**_WHOLE, "minimum": 0})
]
Seconds = Annotated[float, BeforeValidator(_seconds), DURATION, WithJsonSchema(_DURATION_SCHEMA)]
ByteSize = Annotated[int, BeforeValidator(_bytes), WithJsonSchema(_SIZE_SCHEMA)]
HostPort = Annotated[str, BeforeValidator(_text), AfterValidator(_host_port), WithJsonSchema(_SCALAR)]
AbsoluteURL = Annotated[str, BeforeValidator(_text), AfterValidator(_absolute_url), WithJsonSchema(_SCALAR)]
RegularExpression = Annotated[
    re.Pattern[str], BeforeValidator(_pattern), WithJsonSchema({"type": "string", "format": "regex"})
]
Network = Annotated[IPNetwork, BeforeValidator(_network), WithJsonSchema({"type": "string"})]
Lines = Annotated[tuple[Text, ...], BeforeValidator(as_list), WithJsonSchema(_LINES_SCHEMA)]
Headers = Annotated[
    dict[str, Lines],
    AfterValidator(_headers),
    WithJsonSchema({"type": ["object", "null"], "additionalProperties": _LINES_SCHEMA}),
]
FreeForm = Annotated[Any, BeforeValidator(resolved_deep), WithJsonSchema({})]
