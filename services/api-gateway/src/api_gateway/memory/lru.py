"""Values under a limit of bytes, of which the least recently used ones go first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class LRU(Generic[_K, _V]):
    """Keeps values as long as their sizes come to no more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[_K, tuple[_V, int]] = OrderedDict()
        self.size = 0
        """Bytes of the values that are kept."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: _K) -> _V | None:
        """The value of a key, which counts as used now."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: _K, value: _V, size: int) -> list[tuple[_K, _V]]:
        """Take a value of so many bytes in place of an earlier one; what had to go.

        A value over the limit is not taken: it is among what had to go, and nothing else is.
        """
        self.pop(key)
        if size > self._limit:
            return [(key, value)]
        self._entries[key] = value, size
        self.size += size
        gone = []
        while self.size > self._limit:
            oldest, (dropped, its_size) = self._entries.popitem(last=False)
            self.size -= its_size
            gone.append((oldest, dropped))
        return gone

    def pop(self, key: _K) -> _V | None:
        """Drop the value of a key, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.size -= entry[1]
        return entry[0]
