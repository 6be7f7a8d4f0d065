"""No cache."""

from __future__ import annotations

from metadata_service.cache.interface import Report
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest


class NoDescriptorCache:
    """Knows nothing, so every question goes to storage."""

    is_private = True

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        """None."""
        return None

    async def add(self, repository: str, digest: Digest, descriptor: BlobDescriptor) -> None:
        """Remember nothing."""

    async def remove(self, repository: str, digest: Digest) -> None:
        """Nothing is there to forget."""

    async def watch(self, report: Report) -> None:
        """It is always well."""
        await report(None)

    async def close(self) -> None:
        """Nothing is held."""
