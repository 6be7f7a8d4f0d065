"""The form of a token: three parts in base64url, the first a JSON object. Nothing in it is trusted yet.

Source: RFC 7515, sections 3.1, 4 and 5.2; RFC 8725, section 3.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from api_gateway.access.token.errors import InvalidTokenError

# Characters of a token, at most.
LONGEST = 64 * 1024

_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Compact:
    """A token's parts."""

    header: dict[str, Any]
    payload: bytes
    signed: bytes
    """What the signature is of."""

    signature: bytes

    @property
    def algorithm(self) -> str:
        """The algorithm that the header names."""
        algorithm: str = self.header["alg"]
        return algorithm


def split(token: str) -> Compact:
    """The parts of a token. Raises InvalidTokenError."""
    if len(token) > LONGEST:
        raise InvalidTokenError(f"longer than {LONGEST} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidTokenError("not three parts with dots between them")
    header_bytes, payload, signature = (_decoded(part) for part in parts)
    header = json_object(header_bytes, "header")
    if not isinstance(header.get("alg"), str):
        raise InvalidTokenError("the header names no algorithm")
    if "crit" in header or "b64" in header:
        # An extension that must be understood, and is not.
        raise InvalidTokenError("the header asks for an extension")
    return Compact(header, payload, token.rpartition(".")[0].encode("ascii"), signature)


def json_object(content: bytes, what: str) -> dict[str, Any]:
    """The JSON object (UTF-8) in some bytes. Raises InvalidTokenError that names `what` it is of."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError(f"the {what} is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidTokenError(f"the {what} is not a JSON object")
    return value


def _decoded(part: str) -> bytes:
    """The bytes of a part, which has exactly one form: no padding, no stray bits."""
    if _PART.fullmatch(part) is None or len(part) % 4 == 1:
        raise InvalidTokenError("not base64url")
    decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=") != part.encode("ascii"):
        raise InvalidTokenError("not base64url")
    return decoded
