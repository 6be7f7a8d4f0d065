"""Which blobs' bytes this process has seen in storage."""

from __future__ import annotations

from collections import OrderedDict

from moorage.digest import Digest

# A digest takes about 200 bytes.
_MOST = 100_000


class SeenBytes:
    """The digests that were seen last.

    A descriptor in a cache that outlives this process may be older than a garbage collection. So the bytes
    are looked for once before it is believed.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._digests: OrderedDict[Digest, None] = OrderedDict()

    def __contains__(self, digest: Digest) -> bool:
        """Whether the blob's bytes were there when they were last looked for."""
        if digest not in self._digests:
            return False
        self._digests.move_to_end(digest)
        return True

    def add(self, digest: Digest) -> None:
        """The bytes are there."""
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)

    def discard(self, digest: Digest) -> None:
        """They are not."""
        self._digests.pop(digest, None)
