"""What belongs to one request and travels with it through all services."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

# The id under which a request's lines stand in every service's log.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def new_request_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def accept_request_id(text: str) -> str:
    """An id that came from outside, or a fresh one when it could spoil a log line or is empty."""
    return text if _SAFE_ID.fullmatch(text) else new_request_id()
