"""What a trusted proxy says of the client and of the origin that the client asked.

Only the peers of `http.trustedproxies` are believed; distribution believes anybody. Source: RFC 7239; the de
facto X-Forwarded-* headers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from api_gateway.headers import Headers, elements

# RFC 3986, section 3.2.2, without user information and without percent-encoding: what a registry's host can
# be.
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?)(?::[0-9]{1,5})?",
    re.ASCII,
)

# One parameter of a Forwarded element: a token, and a token or a quoted string.
_PARAMETER = re.compile(
    r"""[ \t]*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)=
    (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]*))[ \t]*(?P<end>[;,]|$)""",
    re.VERBOSE | re.ASCII,
)

# The fields that say what origin the client asked.
FORWARDED_NAMES = (b"forwarded", b"x-forwarded-proto", b"x-forwarded-host")

Trust = Callable[[str | None], bool]


def peer_of(scope: Scope, *, unix: bool) -> str | None:
    """The address of a request's peer: "" where unknown, None on a unix socket, where nobody has one."""
    if scope["client"]:
        address: str = scope["client"][0]
        return address
    return None if unix else ""


def is_host(text: str) -> bool:
    """Whether the text is a host, or a host and a port, that may stand in a URL."""
    return _HOST.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ForwardedOrigin:
    """The scheme and the host that the client used; empty for what the proxy did not say, or said wrongly."""

    scheme: str = ""
    host: str = ""


def forwarded_origin(headers: Headers) -> ForwardedOrigin:
    """The origin that a proxy's headers name: the first element of Forwarded, else of X-Forwarded-*.

    The caller has made sure that the peer may be believed.
    """
    forwarded = headers.get(b"forwarded")
    if forwarded is not None:
        parameters = _first_element(forwarded)
        scheme, host = parameters.get("proto", ""), parameters.get("host", "")
    else:
        scheme = _first(headers, b"x-forwarded-proto")
        host = _first(headers, b"x-forwarded-host")
    scheme = scheme.lower()
    return ForwardedOrigin(
        scheme if scheme in {"http", "https"} else "",
        host if is_host(host) else "",
    )


def client_address(peer: str | None, headers: Headers, trusts: Trust) -> str:
    """The client's IP address; "" for a client on a unix socket that no proxy speaks for.

    A chain of proxies is walked from the nearest one back, as long as each is trusted: what an untrusted peer
    claims about those before it does not count.
    """
    address = peer or ""
    if (b"x-forwarded-for" not in headers and b"x-real-ip" not in headers) or not trusts(peer):
        return address
    chain = [_address(element) for element in elements(headers.lines(b"x-forwarded-for"))]
    if not any(chain):
        return _address(headers.get(b"x-real-ip") or "") or address
    for hop in reversed(chain):
        if not hop:
            break
        address = hop
        if not trusts(hop):
            break
    return address


def _first(headers: Headers, name: bytes) -> str:
    found = elements(headers.lines(name))
    return found[0] if found else ""


def _address(text: str) -> str:
    """The IP address in `text`, which may carry a port; "" when there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _first_element(text: str) -> dict[str, str]:
    """The parameters of the first element of a Forwarded header, names in lower case; empty if malformed."""
    parameters: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            return {}
        quoted = match["quoted"]
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match["token"]
        parameters.setdefault(match["name"].lower(), value)
        position = match.end()
        if match["end"] == ",":
            break
    return parameters
