"""The memory of one gateway process, and when what it holds may be used.

What was looked up in the metadata service counts only while the process holds a lease (docs/leases.md): it
is used at a moment at which the lease has not run out, in one stretch without a pause between the check and
the use, and it is gone before a revocation is confirmed. Bytes under a digest never change and need no lease;
they are reached only through a link that was looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from api_gateway import metrics
from api_gateway.memory.entries import (
    BlobKey,
    LeasedKey,
    LinkedBlob,
    Manifest,
    ManifestKey,
    TagList,
    TagListKey,
)
from api_gateway.memory.index import Index
from api_gateway.memory.lru import LRU
from moorage.clock import boot_seconds

Clock = Callable[[], float]
"""Seconds since some moment in the past."""

# Bytes of what is around each entry: key, fields, and its places in the order of use and in the index.
_OVERHEAD = 2048
_CONTENT_OVERHEAD = 512

# The name under which stands what every change of a tag makes wrong. No tag and no digest is empty.
_ANY_TAG = ""


class Watch:
    """What befell the memory while a look-up was under way."""

    __slots__ = ("lease", "lost", "revoked")

    def __init__(self, lease: str) -> None:
        self.lease = lease
        """The lease under which the look-up is made; "" for none."""

        self.lost = not lease
        """Whether there is no such lease any more."""

        self.revoked: set[str] = set()
        """Repositories of which something was revoked."""


class Memory:
    """Keeps at most `limit` bytes; 0 keeps nothing."""

    def __init__(self, limit: int, *, clock: Clock = boot_seconds) -> None:
        self._clock = clock
        self._entries: LRU[LeasedKey | str, Any] = LRU(limit)
        self._index: Index[LeasedKey] = Index()
        self._watches: set[Watch] = set()
        self._lease = ""
        self._until = 0.0
        self.is_on = limit > 0

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._entries.size

    def __len__(self) -> int:
        return len(self._entries)

    # The lease

    @property
    def is_leased(self) -> bool:
        """Whether there is a lease, be it about to run out."""
        return bool(self._lease)

    def lease_granted(self, lease: str, until: float) -> None:
        """Rely on a lease until a moment of the clock. Another lease than before begins with nothing."""
        if lease != self._lease:
            self.lease_ended()
            self._lease = lease
        self._until = until
        metrics.LEASE_HELD.set(1)

    def lease_ended(self) -> None:
        """Forget what was held under the lease, and keep no answer of a look-up that is under way."""
        self._lease, self._until = "", 0.0
        metrics.LEASE_HELD.set(0)
        for watch in self._watches:
            watch.lost = True
        self._drop_unindexed(self._index.take_all())

    def revoke(self, repository: str, tags: Collection[str], digests: Collection[str]) -> None:
        """Forget what is about to change: the tags and digests, or all of the repository when there are none.

        Answers of the repository that are under way are not kept either.
        """
        metrics.REVOCATIONS.inc()
        for watch in self._watches:
            watch.revoked.add(repository)
        if tags or digests:
            names = (*tags, _ANY_TAG, *digests) if tags else digests
            self._drop(self._index.named(repository, names))
        else:
            self._drop_unindexed(self._index.take(repository))

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Watch for what makes the answer of a look-up unfit to be kept, from before it is sent."""
        watch = Watch(self._lease)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    # What is held under the lease

    def manifest(self, key: ManifestKey) -> Manifest | None:
        """A manifest that may be used at this moment."""
        found: Manifest | None = self._held(key)
        return found

    def blob(self, key: BlobKey) -> LinkedBlob | None:
        """A repository's link to a blob that may be used at this moment."""
        found: LinkedBlob | None = self._held(key)
        return found

    def tags(self, key: TagListKey) -> TagList | None:
        """A list of tags that may be used at this moment."""
        found: TagList | None = self._held(key)
        return found

    def keep(self, watch: Watch, key: LeasedKey, entry: Manifest | LinkedBlob | TagList) -> None:
        """Keep an answer that the lease covers, unless what happened in the meantime forbids it.

        A revocation forbids all answers of its repository: which of them it would have named is not worth a
        look.
        """
        repository = key[0]
        if watch.lost or repository in watch.revoked:
            return
        # An earlier answer to the same may stand under another digest.
        self._drop((key,))
        self._index.add(repository, _names(key, entry), key)
        named = sum(len(part) for part in key if isinstance(part, str))
        self._put(key, entry, _OVERHEAD + entry.weight + 2 * named)

    # What needs no lease

    def content(self, digest: str) -> bytes | None:
        """The bytes under a canonical digest."""
        found: bytes | None = self._entries.get(digest)
        return found

    def keep_content(self, digest: str, content: bytes) -> None:
        """Keep bytes that were verified against their canonical digest."""
        self._put(digest, content, _CONTENT_OVERHEAD + len(content))

    def _held(self, key: LeasedKey) -> Any:
        return self._entries.get(key) if self._clock() < self._until else None

    def _put(self, key: LeasedKey | str, entry: Any, size: int) -> None:
        for gone, its_entry in self._entries.put(key, entry, size):
            self._forget(gone, its_entry)
        self._tell()

    def _drop(self, keys: Collection[LeasedKey]) -> None:
        for key in keys:
            entry = self._entries.pop(key)
            if entry is not None:
                self._forget(key, entry)
        self._tell()

    def _drop_unindexed(self, keys: Iterable[LeasedKey]) -> None:
        """Drop what is not in the index any more. It takes 3 us for an entry, much of it to free them."""
        for key in keys:
            self._entries.pop(key)
        self._tell()

    def _forget(self, key: LeasedKey | str, entry: Any) -> None:
        if not isinstance(key, str):
            self._index.remove(key[0], _names(key, entry), key)

    def _tell(self) -> None:
        metrics.MEMORY_BYTES.set(self._entries.size)
        metrics.MEMORY_ENTRIES.set(len(self._entries))


def _names(key: LeasedKey, entry: Any) -> tuple[str, ...]:
    """The tags and digests under which an entry stands in the index."""
    return (_ANY_TAG,) if isinstance(key, TagListKey) else (key[1], entry.digest)
