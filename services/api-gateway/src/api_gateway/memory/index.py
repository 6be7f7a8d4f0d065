"""Which keys of a repository stand under which of its tags and digests, so that revoking needs no search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

_K = TypeVar("_K")


class Index(Generic[_K]):
    """Keys by repository and name, where a name is a tag or a digest; a key may have several names."""

    def __init__(self) -> None:
        self._repositories: dict[str, dict[str, set[_K]]] = {}

    def add(self, repository: str, names: Iterable[str], key: _K) -> None:
        """Enter a key under its names."""
        known = self._repositories.setdefault(repository, {})
        for name in names:
            known.setdefault(name, set()).add(key)

    def remove(self, repository: str, names: Iterable[str], key: _K) -> None:
        """Take a key out that was entered under these names."""
        known = self._repositories.get(repository)
        if known is None:
            return
        for name in names:
            keys = known.get(name)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del known[name]
        if not known:
            del self._repositories[repository]

    def named(self, repository: str, names: Iterable[str]) -> set[_K]:
        """The keys under any of these names."""
        known = self._repositories.get(repository, {})
        return set().union(*(known.get(name, ()) for name in names))

    def take(self, repository: str) -> set[_K]:
        """Take out all keys of a repository."""
        return set().union(*self._repositories.pop(repository, {}).values())

    def take_all(self) -> set[_K]:
        """Take out all keys."""
        known, self._repositories = self._repositories, {}
        return set().union(*(keys for names in known.values() for keys in names.values()))
