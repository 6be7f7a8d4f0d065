"""The kinds of value that a key can have, each with the sentence that refuses another kind."""

from __future__ import annotations

import ipaddress
import re
import warnings
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo

from moorage.config.document import resolved, resolved_deep
from moorage.config.duration import parse_duration
from moorage.config.size import parse_size

WARNINGS = "warnings"


def warn(info: ValidationInfo, sentence: str) -> None:
    """Add a warning to the configuration that is being read, when somebody collects them."""
    if info.context is not None:
        info.context[WARNINGS].append(sentence)


def kind(value: Any) -> str:
    """What a value is, in a word that a sentence about it can use."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"must be text, not {kind(value)}")


def _secret(value: Any) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    return SecretStr(_text(value))


def _flag(value: Any) -> bool:
    value = resolved(value)
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {kind(value)}")


def _integer(value: Any) -> int:
    value = resolved(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,18}", value, re.ASCII):
        return int(value)
    raise ValueError(f"must be a whole number, not {kind(value)}")


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError(f"must not be negative: {value}")
    return value


def _seconds(value: Any, info: ValidationInfo) -> float:
    value = resolved(value)
    if isinstance(value, float):
        raise ValueError(f"not a duration: {value!r}")  # noqa: TRY004  pydantic collects ValueError
    seconds = parse_duration(value)
    if seconds < 0:
        raise ValueError(f"must not be negative: {value!r}")
    if isinstance(value, int) and 0 < value < 10**6:
        warn(info, f"{info.field_name}: a bare number is nanoseconds: write '{value}s' for seconds")
    return seconds


def _bytes(value: Any) -> int:
    return _not_negative(parse_size(resolved(value)))


def _lines(value: Any) -> Any:
    return [value] if isinstance(value, str | bool | int | float) else value


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
        or not re.fullmatch(r"\d{1,5}", port, re.ASCII)
        or int(port) > 65535
        or (":" in host) != bracketed
        or re.search(r"[\s/\[\]@]", host)
    ):
        raise ValueError(f"not host:port: {text!r}")
    return host, int(port)


def _host_port(value: str) -> str:
    split_host_port(value)
    return value


def _absolute_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"not an absolute http or https URL: {value!r}")
    return value


def _pattern(value: Any) -> re.Pattern[str]:
    if isinstance(value, re.Pattern):
        return value
    text = _text(value)
    try:
        with warnings.catch_warnings():
            # Python warns where a construct (`[[:alpha:]]`) means something else to it than to Go.
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, Warning) as error:
        raise ValueError(f"not a regular expression: {text!r}: {error}") from error


IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(value: Any) -> IPNetwork:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    text = _text(value)
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"not a network in CIDR notation: {text!r}: {error}") from error


Text = Annotated[str, BeforeValidator(_text)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Integer = Annotated[int, BeforeValidator(_integer)]
Count = Annotated[int, BeforeValidator(_integer), AfterValidator(_not_negative)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
ByteSize = Annotated[int, BeforeValidator(_bytes)]
HostPort = Annotated[str, BeforeValidator(_text), AfterValidator(_host_port)]
AbsoluteURL = Annotated[str, BeforeValidator(_text), AfterValidator(_absolute_url)]
RegularExpression = Annotated[re.Pattern[str], BeforeValidator(_pattern)]
Network = Annotated[IPNetwork, BeforeValidator(_network)]
Lines = Annotated[tuple[Text, ...], BeforeValidator(_lines)]
FreeForm = Annotated[Any, BeforeValidator(resolved_deep)]


def one_of(*choices: str) -> Any:
    """A validator that takes one of these words."""

    def choose(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return str(value)
        raise ValueError(f"must be one of {', '.join(choices)}, not {kind(value)}")

    return choose
