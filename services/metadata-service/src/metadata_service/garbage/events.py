"""What a collection tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from moorage.digest import Digest


class Kind(Enum):
    """What is marked or removed."""

    MANIFEST = "manifest"
    BLOB = "blob"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entered:
    """A repository is looked at."""

    repository: str


@dataclass(frozen=True, slots=True)
class Marked:
    """It stays: a manifest of the repository, or a blob that one of them needs."""

    kind: Kind
    repository: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Eligible:
    """It goes. `repository` is "" and `size` is in bytes for a blob."""

    kind: Kind
    repository: str
    digest: Digest
    size: int = 0


@dataclass(frozen=True, slots=True)
class Missing:
    """A manifest without bytes. It keeps nothing."""

    repository: str
    digest: Digest


@dataclass(slots=True)
class Summary:
    """What a collection came to; `bytes` are those of the removed blobs."""

    repositories: int = 0
    marked: int = 0
    blobs: int = 0
    manifests: int = 0
    links: int = 0
    bytes: int = 0


Event = Entered | Marked | Eligible | Missing | Summary
