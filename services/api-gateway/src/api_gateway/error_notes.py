"""What each error code means here, for the reference page."""

from __future__ import annotations

from moorage.errors import ErrorCode

NOTES: dict[ErrorCode, str] = {
    ErrorCode.UNKNOWN: "A fault of the registry, without further classification.",
    ErrorCode.UNSUPPORTED: (
        "The method is not allowed here: the route lacks it, deletion is off, the registry is read-only. "
        "With 400 or 415: the request is malformed, or its body of a type that is not taken."
    ),
    ErrorCode.UNAUTHORIZED: (
        "Credentials are missing, wrong, or do not allow it; `WWW-Authenticate` says how to come in."
    ),
    ErrorCode.DENIED: "A policy refuses it.",
    ErrorCode.UNAVAILABLE: "A service behind the gateway is away, or a health check fails. Try again.",
    ErrorCode.TOOMANYREQUESTS: "The client asks too often; `Retry-After` says when to go on.",
    ErrorCode.DIGEST_INVALID: (
        "A digest is missing, malformed or of an unsupported algorithm, or the content does not match it."
    ),
    ErrorCode.SIZE_INVALID: (
        "A length is not that of the content. With 413: the blob is too large; with 408: it is late."
    ),
    ErrorCode.RANGE_INVALID: "A chunk is out of place, or a range lies outside the content.",
    ErrorCode.NAME_INVALID: "The repository's name does not match the grammar.",
    ErrorCode.TAG_INVALID: "A tag does not match the grammar, or stands where none belongs.",
    ErrorCode.NAME_UNKNOWN: "There is no such repository, or no such path.",
    ErrorCode.MANIFEST_UNKNOWN: "There is no such manifest or tag, or none that the client accepts.",
    ErrorCode.MANIFEST_INVALID: "The manifest cannot be taken as it is. With 413: it is too large.",
    ErrorCode.MANIFEST_UNVERIFIED: "The signature of a schema 1 manifest does not verify.",
    ErrorCode.MANIFEST_BLOB_UNKNOWN: "The manifest refers to content that the repository lacks.",
    ErrorCode.BLOB_UNKNOWN: "The repository does not link such a blob.",
    ErrorCode.BLOB_UPLOAD_UNKNOWN: "There is no such upload, or no longer.",
    ErrorCode.BLOB_UPLOAD_INVALID: "The upload's `_state` is not one that the registry signed for it.",
    ErrorCode.PAGINATION_NUMBER_INVALID: "`n` is no number, or too large.",
}

NOT_ANSWERED = frozenset({ErrorCode.MANIFEST_UNVERIFIED})
"""Codes that this version never answers: it has no schema 1."""
