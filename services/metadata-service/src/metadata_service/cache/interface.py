"""What a descriptor cache is. One suite of tests, `test_descriptor_cache.py`, runs against each of them."""

from __future__ import annotations

from typing import Protocol

from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest


class DescriptorCache(Protocol):
    """Descriptors of blobs, each in the scope of one repository.

    It holds positive answers only. A descriptor that was added for one repository is never an answer for
    another one, whatever the implementation shares between them. It may forget anything at any time.
    Every method may raise any exception when the cache cannot be reached, and returns or raises within a
    short time of its own; the caller goes on without it.
    """

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

    async def close(self) -> None:
        """Release what the cache holds. No call may follow."""
        ...
