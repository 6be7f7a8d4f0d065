"""The errors for what is not there, with the details that distribution gives; what a failure leaves open."""

from __future__ import annotations

from metadata_service.layout import Repository
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError


def blob_unknown(digest: Digest) -> RegistryError:
    """The repository does not link the blob."""
    return RegistryError(ErrorCode.BLOB_UNKNOWN, {"digest": str(digest)})


def manifest_unknown(repository: Repository, reference: Digest | str, message: str = "") -> RegistryError:
    """The repository has no such manifest, or cannot serve it for the reason in `message`."""
    if isinstance(reference, Digest):
        detail = {"Name": repository.name, "Revision": str(reference)}
    else:
        detail = {"Tag": reference}
    return RegistryError(ErrorCode.MANIFEST_UNKNOWN, detail, message=message)


def name_unknown(repository: Repository) -> RegistryError:
    """There is no such repository."""
    return RegistryError(ErrorCode.NAME_UNKNOWN, {"name": repository.name})


def outcome_is_known(error: BaseException) -> bool:
    """Whether the failure of a change says that nothing of it happens later.

    False when storage did not answer, or not with an error of its own: then it may still do what it was told.
    """
    unknown = {ErrorCode.UNAVAILABLE, ErrorCode.UNKNOWN}
    return isinstance(error, RegistryError) and error.code not in unknown
