"""Signatures over requests, so that a subscriber knows who sent them.

Source: Standard Webhooks, "Signature scheme": HMAC-SHA256 over id, timestamp and body, under a secret that
both sides have; several signatures while a secret is replaced by another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt: `message_id` is the same in each, `timestamp` is now, in whole seconds.

    Without keys there is no signature; id and timestamp stand there nevertheless.
    """
    headers = {ID_HEADER: message_id, TIMESTAMP_HEADER: str(timestamp)}
    if keys:
        content = b".".join((message_id.encode(), str(timestamp).encode(), body))
        headers[SIGNATURE_HEADER] = " ".join(_signature(key, content) for key in keys)
    return headers


def _signature(key: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode("ascii")
