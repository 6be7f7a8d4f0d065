"""The V2 error codes and the exception that carries them from storage to the error envelope.

Source: Docker Registry HTTP API V2, "Errors"; OCI distribution specification 1.1, "Error Codes".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True, slots=True)
class _Code:
    http_status: int
    message: str


class ErrorCode(Enum):
    """Every code of the error envelope, with its HTTP status and its text."""

    UNKNOWN = _Code(500, "unknown error")
    UNSUPPORTED = _Code(405, "The operation is unsupported.")
    UNAUTHORIZED = _Code(401, "authentication required")
    DENIED = _Code(403, "requested access to the resource is denied")
    UNAVAILABLE = _Code(503, "service unavailable")
    TOOMANYREQUESTS = _Code(429, "too many requests")
    DIGEST_INVALID = _Code(400, "provided digest did not match uploaded content")
    SIZE_INVALID = _Code(400, "provided length did not match content length")
    RANGE_INVALID = _Code(416, "invalid content range")
    NAME_INVALID = _Code(400, "invalid repository name")
    TAG_INVALID = _Code(400, "manifest tag did not match URI")
    NAME_UNKNOWN = _Code(404, "repository name not known to registry")
    MANIFEST_UNKNOWN = _Code(404, "manifest unknown")
    MANIFEST_INVALID = _Code(400, "manifest invalid")
    MANIFEST_UNVERIFIED = _Code(400, "manifest failed signature verification")
    MANIFEST_BLOB_UNKNOWN = _Code(400, "blob unknown to registry")
    BLOB_UNKNOWN = _Code(404, "blob unknown to registry")
    BLOB_UPLOAD_UNKNOWN = _Code(404, "blob upload unknown to registry")
    BLOB_UPLOAD_INVALID = _Code(404, "blob upload invalid")
    PAGINATION_NUMBER_INVALID = _Code(400, "invalid number of results requested")

    @property
    def http_status(self) -> int:
        """The status that a response takes from this code."""
        return self.value.http_status

    @property
    def message(self) -> str:
        """The text of the envelope's `message`."""
        return self.value.message


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One entry of the envelope. `message` and `http_status` default to the code's own."""

    code: ErrorCode
    detail: Any = None
    message: str = ""
    http_status: int = 0

    def as_json(self) -> dict[str, Any]:
        """The entry as it stands in the envelope's `errors` list; `detail` is left out when there is none."""
        entry: dict[str, Any] = {"code": self.code.name, "message": self.message or self.code.message}
        if self.detail is not None:
            entry["detail"] = self.detail
        return entry


class RegistryError(Exception):
    """A refusal or failure that a client is told of, in one or more entries of the V2 error envelope."""

    def __init__(
        self, code: ErrorCode, detail: Any = None, *, message: str = "", http_status: int = 0
    ) -> None:
        super().__init__(code, detail)
        self.entries: Sequence[ErrorEntry] = (ErrorEntry(code, detail, message, http_status),)

    @classmethod
    def of(cls, entries: Sequence[ErrorEntry]) -> RegistryError:
        """An error of several entries (at least one); the first decides the status."""
        if not entries:
            raise ValueError("an error has at least one entry")
        error = cls(entries[0].code, entries[0].detail)
        error.entries = tuple(entries)
        return error

    @property
    def code(self) -> ErrorCode:
        """The code of the first entry."""
        return self.entries[0].code

    @property
    def http_status(self) -> int:
        """The response's status: the first entry's."""
        return self.entries[0].http_status or self.entries[0].code.http_status

    def envelope(self) -> bytes:
        """The response's body, UTF-8 JSON."""
        body = {"errors": [entry.as_json() for entry in self.entries]}
        return json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode()

    def __str__(self) -> str:
        return "; ".join(
            f"{entry.code.name}: {entry.message or entry.code.message}"
            + (f" ({entry.detail})" if entry.detail is not None else "")
            for entry in self.entries
        )
