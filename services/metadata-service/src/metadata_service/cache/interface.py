"""What a descriptor cache is. One suite of tests, `test_descriptor_cache.py`, runs against each of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest

Report = Callable[[str | None], Awaitable[None]]
"""Told why a cache is degraded, or None when it is not (any more)."""


class CacheAwayError(Exception):
    """The cache cannot be reached, or does not answer in time."""


class CacheSkippedError(CacheAwayError):
    """The cache was not even asked, because it was away a moment ago."""


class CacheBusyError(Exception):
    """The cache is there, and cannot take this call just now."""


class DescriptorCache(Protocol):
    """Descriptors of blobs, each in the scope of one repository.

    It holds positive answers only. A descriptor that was added for one repository is never an answer for
    another one, whatever the implementation shares between them. It may forget anything at any time.
    Every method may raise any exception when the cache cannot be reached (CacheAwayError where it knows), and
    returns or raises within a short time of its own; the caller goes on without it.
    """

    @property
    def is_private(self) -> bool:
        """Whether this process alone fills and clears it, and it ends with the process.

        Another one may hold what was removed long ago: it was restored from a snapshot, failed over to a
        replica that was behind, or somebody else fills it too.
        """
        ...

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        """The descriptor of a blob that is known to be in the repository; None for no answer.

        `digest` may be an alias; then the descriptor's digest is another one.
        """
        ...

    async def add(self, repository: str, digest: Digest, descriptor: BlobDescriptor) -> None:
        """Remember that the repository has a blob under this digest."""
        ...

    async def remove(self, repository: str, digest: Digest) -> None:
        """Forget that the repository has it.

        When this returns `get` has no answer, also after an `add` for another repository.
        """
        ...

    async def watch(self, report: Report) -> None:
        """Report once how the cache is, and then each change, until cancelled; return if it never changes."""
        ...

    async def close(self) -> None:
        """Release what the cache holds. No call may follow."""
        ...
