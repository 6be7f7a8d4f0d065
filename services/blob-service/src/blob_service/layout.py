"""Layout v2: where everything lies in the driver's namespace.

Source: distribution's `registry/storage/paths.go`. A path is made only from what was parsed: digests,
repository names and upload ids. Nothing else ever becomes part of one.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from moorage.digest import Digest
from moorage.reference import parse_name

ROOT = "/docker/registry/v2"
REPOSITORIES = f"{ROOT}/repositories"
UPLOADS = "_uploads"

UPLOAD_ID_MAX_LENGTH = 128

# distribution's route also lets "=" through, but no driver path can hold it, so no upload has it in its id.
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


class InvalidUploadIdError(ValueError):
    """The text cannot be the id of an upload."""


@dataclass(frozen=True, slots=True)
class UploadKey:
    """Names one upload. Both parts are known to be well-formed."""

    repository: str
    id: str

    @classmethod
    def parse(cls, repository: str, upload_id: str) -> UploadKey:
        """A key from outside; raises InvalidReferenceError or InvalidUploadIdError."""
        parse_name(repository)
        well_formed = len(upload_id) <= UPLOAD_ID_MAX_LENGTH and _UPLOAD_ID.fullmatch(upload_id)
        if not well_formed or upload_id in {".", ".."}:
            raise InvalidUploadIdError(f"not an upload id: {upload_id[:UPLOAD_ID_MAX_LENGTH]!r}")
        return cls(repository, upload_id)

    @classmethod
    def new(cls, repository: str) -> UploadKey:
        """The key of a new upload; raises InvalidReferenceError."""
        return cls(parse_name(repository), str(uuid.uuid4()))


def blob_folder(digest: Digest) -> str:
    """The folder that holds one blob and nothing else."""
    return f"{blobs_folder(digest.algorithm)}/{digest.hex[:2]}/{digest.hex}"


def blobs_folder(algorithm: str) -> str:
    """The folder that holds the blobs of an algorithm, in folders named after their first two digits."""
    return f"{ROOT}/blobs/{algorithm}"


def blob_data(digest: Digest) -> str:
    """A blob's bytes."""
    return f"{blob_folder(digest)}/data"


def upload_folder(key: UploadKey) -> str:
    """The folder that holds all of one upload."""
    return f"{uploads_folder(key.repository)}/{key.id}"


def uploads_folder(repository: str) -> str:
    """The folder that holds a repository's uploads."""
    return f"{REPOSITORIES}/{repository}/{UPLOADS}"


def upload_data(key: UploadKey) -> str:
    """The bytes that an upload has so far."""
    return f"{upload_folder(key)}/data"


def upload_started_at(key: UploadKey) -> str:
    """When an upload was started: RFC 3339, UTC."""
    return f"{upload_folder(key)}/startedat"
