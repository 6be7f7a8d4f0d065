"""What an S3 endpoint's failures are to a caller of the driver, and which of them may pass."""

from __future__ import annotations

from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, SSLError
from botocore.exceptions import ConnectionError as EndpointError

from blob_service.drivers.errors import (
    DriverError,
    InvalidPathError,
    NoSpaceError,
    PathNotFoundError,
    StorageError,
)

# Answers that say: not now. Source: botocore's retry modes, and what gateways add to AWS's words.
_PASSING = frozenset(
    {
        *("SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled"),
        *("RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded"),
        *("BandwidthLimitExceeded", "RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"),
        *("InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict"),
        # What arrived is not what was sent.
        *("BadDigest", "IncompleteBody"),
    }
)
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_FULL = frozenset({"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "InsufficientStorage"})
_UNNAMEABLE = frozenset({"KeyTooLongError", "InvalidObjectName", "XMinioInvalidObjectName"})

# No whole answer came.
_LOST = (EndpointError, HTTPClientError, IncompleteReadError, aiohttp.ClientError, TimeoutError, OSError)

# Words for one key among many that mean: this one never.
_REFUSED = frozenset({"AccessDenied", "MethodNotAllowed", "InvalidObjectState", "NotImplemented"})

# What may come of a request, other than an answer.
REQUEST_ERRORS = (BotoCoreError, ClientError, aiohttp.ClientError, TimeoutError, OSError)


class PartlyDoneError(OSError):
    """A request for many keys was not done for one of them; asked again, it may be."""


def for_one_key(code: str, key: str) -> Exception | None:
    """What the error of one key in an answer for many means; None if the key needs no more done.

    A RADOS Gateway says UnknownError of a key that somebody else deletes at the same moment.
    """
    if code in _MISSING:
        return None
    sentence = f"{code} of {key}"
    return DriverError("", sentence) if code in _REFUSED else PartlyDoneError(sentence)


def code_of(error: BaseException | None) -> str:
    """S3's word for an error; empty for what S3 did not say."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: BaseException) -> bool:
    """Whether there is no such object."""
    return code_of(error) in _MISSING


def is_missing_upload(error: BaseException) -> bool:
    """Whether there is no such multipart upload. The RADOS Gateway of 2021 says NoSuchKey."""
    return code_of(error) in {"NoSuchUpload", *_MISSING}


def is_refused_condition(error: BaseException) -> bool:
    """Whether If-Match or If-None-Match did not hold; with If-Match, AWS says 404 of what is missing."""
    return code_of(error) in {"PreconditionFailed", "412", *_MISSING}


def is_not_implemented(error: BaseException | None) -> bool:
    """Whether the endpoint cannot do this at all."""
    return code_of(error) == "NotImplemented"


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, ClientError):
        status = _status(error)
        return code_of(error) in _PASSING or status == 429 or (status >= 500 and status != 501)
    if isinstance(error, SSLError):
        return False
    return isinstance(error, _LOST)


def storage_error(driver: str, operation: str, path: str, error: BaseException) -> StorageError:
    """What the driver raises for a failed request, without secrets."""
    code = code_of(error)
    if code in _MISSING:
        return PathNotFoundError(path)
    if code in _FULL or _status(error) == 507:
        return NoSpaceError(path)
    if code in _UNNAMEABLE:
        return InvalidPathError(path)
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message") or f"HTTP status {_status(error)}"
        return DriverError(driver, f"{operation} of {path}: {code}: {message}")
    if isinstance(error, TimeoutError):
        return DriverError(driver, f"{operation} of {path}: the endpoint does not answer")
    return DriverError(driver, f"{operation} of {path}: {str(error) or type(error).__name__}")


def _status(error: BaseException) -> int:
    response: Any = error.response if isinstance(error, ClientError) else {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
