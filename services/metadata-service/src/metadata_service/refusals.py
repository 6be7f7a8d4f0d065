"""The errors for what is not there, with the details that distribution gives; what a failure leaves open."""

from __future__ import annotations

from collections.abc import Sequence

from metadata_service.layout import Repository
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError

# Tags that an error names, at most.
_NAMED_TAGS = 16


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


def tag_exists(repository: Repository, tag: str, *, immutable: bool) -> RegistryError:
    """The tag is there and names another manifest, and this push may not move it.

    DENIED, like every refusal of who may do what: clients print its message and do not try again, whereas 409
    has no code in the specification.
    """
    reason = "tags that match policy.tags.immutable stay" if immutable else "the grant is for new tags only"
    return RegistryError(
        ErrorCode.DENIED,
        {"name": repository.name, "tag": tag, "reason": reason},
        message=f"the tag {tag} exists already and may not be moved: {reason}",
    )


def tags_stay(repository: Repository, tags: Sequence[str]) -> RegistryError:
    """Something would remove immutable tags."""
    return RegistryError(
        ErrorCode.DENIED,
        {"name": repository.name, "tags": list(tags[:_NAMED_TAGS]), "reason": "policy.tags.immutable"},
        message=f"the tag {tags[0]} is immutable and may not be deleted, nor the manifest that it names",
    )


def outcome_is_known(error: BaseException) -> bool:
    """Whether the failure of a change says that nothing of it happens later.

    False when storage did not answer, or not with an error of its own: then it may still do what it was told.
    """
    unknown = {ErrorCode.UNAVAILABLE, ErrorCode.UNKNOWN}
    return isinstance(error, RegistryError) and error.code not in unknown
