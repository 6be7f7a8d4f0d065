"""Refusals that several parts of the service make, and what a failing driver looks like to a caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from blob_service.drivers.interface import NoSpaceError, StorageError
from moorage.digest import Digest, InvalidDigestError
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger(__name__)


def blob_unknown(digest: Digest) -> RegistryError:
    """There is no such blob."""
    return RegistryError(ErrorCode.BLOB_UNKNOWN, {"digest": str(digest)})


def digest_mismatch(digest: Digest) -> RegistryError:
    """The content has another digest than the caller said."""
    detail = {"digest": str(digest), "reason": "content does not match digest"}
    return RegistryError(ErrorCode.DIGEST_INVALID, detail)


def parse_digest(text: str) -> Digest:
    """A digest from outside; raises RegistryError DIGEST_INVALID when it is malformed or not supported."""
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        detail = {"digest": text[:160], "reason": str(error)}
        raise RegistryError(ErrorCode.DIGEST_INVALID, detail) from error


@contextmanager
def storage_failures() -> Iterator[None]:
    """Tell the log what failed in storage, and the caller only that it did.

    Errors that mean something to the caller ("not there") are handled before they get here.
    """
    try:
        yield
    except NoSpaceError as error:
        log.error("the storage is full", error=str(error))  # noqa: TRY400  the trace says nothing more
        raise RegistryError(ErrorCode.UNAVAILABLE, "the storage is full") from error
    except StorageError as error:
        log.exception("a storage call failed")
        raise RegistryError(ErrorCode.UNAVAILABLE, "the storage failed") from error
