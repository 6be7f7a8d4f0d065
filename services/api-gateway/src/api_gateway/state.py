"""The `_state` of an upload's URL: which upload it is and how far it got, signed against forgery.

The token is base64url(HMAC-SHA256(secret, json) || json), json being {"Name":<repository>,"UUID":<upload
id>,"Offset":<bytes>,"StartedAt":<RFC 3339>}: distribution's own format. Two registries that share
`http.secret` and a storage accept each other's uploads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any

import structlog

from moorage.config import Configuration

log = structlog.get_logger("api_gateway")

_MAC_BYTES = hashlib.sha256().digest_size

# A token is a name (255), an id, a number and a time; anything longer is not one of ours.
_MOST_CHARACTERS = 4096

# Offsets travel as signed 64-bit integers.
LARGEST_OFFSET = 2**63 - 1


class InvalidStateError(ValueError):
    """The text is not a token that was signed with this secret."""


@dataclass(frozen=True, slots=True)
class UploadState:
    """What a token says. `offset` is bytes; `started_at` is RFC 3339, kept as it was written."""

    repository: str
    upload_id: str
    offset: int
    started_at: str


def signing_secret(config: Configuration) -> str:
    """The operator's `http.secret`, or a random one, which is warned of."""
    if config.http.secret is not None:
        return config.http.secret.get_secret_value()
    log.warning(
        "http.secret is not set: a random one is used. Uploads that go on through another gateway, "
        "or after a restart, will be refused"
    )
    return secrets.token_hex(32)


class StateSigner:
    """Signs and verifies tokens with `http.secret`."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("an upload's state cannot be signed with an empty secret")
        self._secret = secret

    def sign(self, state: UploadState) -> str:
        """The token of a state: URL-safe base64 with padding, as Go's base64.URLEncoding writes it."""
        document = json.dumps(
            {
                "Name": state.repository,
                "UUID": state.upload_id,
                "Offset": state.offset,
                "StartedAt": state.started_at,
            },
            separators=(",", ":"),
        ).encode()
        return base64.urlsafe_b64encode(self._mac(document) + document).decode("ascii")

    def verify(self, token: str) -> UploadState:
        """The state that a token holds; raises InvalidStateError when it is not one of ours."""
        if len(token) > _MOST_CHARACTERS or not token.isascii():
            raise InvalidStateError("not a token")
        try:
            signed = base64.b64decode(token, altchars=b"-_", validate=True)
        except binascii.Error as error:
            raise InvalidStateError("not base64") from error
        mac, document = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(document)):
            raise InvalidStateError("the signature does not match")
        return _parse(document)

    def _mac(self, document: bytes) -> bytes:
        return hmac.digest(self._secret, document, "sha256")


def _parse(document: bytes) -> UploadState:
    try:
        fields: Any = json.loads(document)
    except ValueError as error:
        raise InvalidStateError("not JSON") from error
    if not isinstance(fields, dict):
        raise InvalidStateError("not an object")
    name, upload_id = fields.get("Name"), fields.get("UUID")
    offset, started_at = fields.get("Offset"), fields.get("StartedAt")
    if not (isinstance(name, str) and isinstance(upload_id, str) and isinstance(started_at, str)):
        raise InvalidStateError("a field is missing or not a string")
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= LARGEST_OFFSET:
        raise InvalidStateError("the offset is not a number of bytes")
    return UploadState(name, upload_id, offset, started_at)
