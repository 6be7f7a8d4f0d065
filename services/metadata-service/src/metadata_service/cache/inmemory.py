"""A descriptor cache in this process's memory, for a single metadata service."""

from __future__ import annotations

from collections import OrderedDict

from metadata_service.cache.interface import Report
from metadata_service.descriptors import BlobDescriptor
from moorage.digest import Digest


class InMemoryDescriptorCache:
    """The descriptors that were asked for last; for one event loop, so no lock is needed."""

    def __init__(self, size: int) -> None:
        """Hold at most `size` descriptors; 0 or less for no limit."""
        self._size = size
        self._descriptors: OrderedDict[tuple[str, Digest], BlobDescriptor] = OrderedDict()

    is_private = True

    async def get(self, repository: str, digest: Digest) -> BlobDescriptor | None:
        """The descriptor, if it is still here."""
        key = (repository, digest)
        descriptor = self._descriptors.get(key)
        if descriptor is not None:
            self._descriptors.move_to_end(key)
        return descriptor

    async def add(self, repository: str, digest: Digest, descriptor: BlobDescriptor) -> None:
        """Remember a descriptor, in place of the one that nobody asked for the longest."""
        key = (repository, digest)
        self._descriptors[key] = descriptor
        self._descriptors.move_to_end(key)
        if 0 < self._size < len(self._descriptors):
            self._descriptors.popitem(last=False)

    async def remove(self, repository: str, digest: Digest) -> None:
        """Forget a descriptor."""
        self._descriptors.pop((repository, digest), None)

    async def watch(self, report: Report) -> None:
        """It is always well."""
        await report(None)

    async def close(self) -> None:
        """Forget everything."""
        self._descriptors.clear()
