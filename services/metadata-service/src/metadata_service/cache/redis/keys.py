"""The names of what is kept in Redis.

Source: distribution, `registry/storage/cache/redis`. Nothing here has a time to live: Redis must evict by
itself (`maxmemory-policy allkeys-lru`).
"""

from __future__ import annotations

from moorage.digest import Digest

# Ours: a set that is made and deleted to find out whether changes are taken again. Never there for long.
CHECK = "moorage::check"


def blob(digest: Digest) -> str:
    """A hash of `digest` (the canonical one), `size` and `mediatype`, for all repositories."""
    return f"blobs::{digest}"


def members(repository: str) -> str:
    """The set of digests that a repository has."""
    return f"repository::{repository}::blobs"


def member(repository: str, digest: Digest) -> str:
    """A hash of `mediatype`: what the blob is to this repository."""
    return f"repository::{repository}::blobs::{digest}"
