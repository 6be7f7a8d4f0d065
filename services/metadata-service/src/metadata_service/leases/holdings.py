"""Which leases cover answers about which repository."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from metadata_service.leases.lease import Lease

# A lease with more repositories counts as a holder of every repository, so that memory stays bounded.
MAX_REPOSITORIES = 100_000


class Holdings:
    """The holders of each repository, and the repositories of each lease."""

    def __init__(self, limit: int = MAX_REPOSITORIES) -> None:
        """`limit` is the most repositories that are remembered for one lease."""
        self._limit = limit
        self._holders: dict[str, set[Lease]] = {}
        # None: every repository.
        self._repositories: dict[Lease, set[str] | None] = {}
        self._everywhere: set[Lease] = set()

    def __len__(self) -> int:
        """How many pairs of a lease and a repository are remembered."""
        return sum(len(each) for each in self._repositories.values() if each is not None)

    def add(self, lease: Lease, repository: str) -> None:
        """The lease covers an answer about the repository."""
        repositories = self._repositories.setdefault(lease, set())
        if repositories is None or repository in repositories:
            return
        if len(repositories) >= self._limit:
            self.remove(lease)
            self._repositories[lease] = None
            self._everywhere.add(lease)
            return
        repositories.add(repository)
        self._holders.setdefault(repository, set()).add(lease)

    def of(self, repository: str) -> list[Lease]:
        """The leases that cover an answer about the repository, or may do so."""
        return [*self._holders.get(repository, ()), *self._everywhere]

    def has_any(self, lease: Lease) -> bool:
        """Whether the lease covers anything."""
        repositories: AbstractSet[str] | None = self._repositories.get(lease, frozenset())
        return repositories is None or bool(repositories)

    def forget(self, lease: Lease, repository: str) -> None:
        """The lease covers nothing of the repository any more; one that covers everything stays as it is."""
        repositories = self._repositories.get(lease)
        if repositories is not None:
            repositories.discard(repository)
            self._drop(lease, repository)

    def remove(self, lease: Lease) -> None:
        """The lease covers nothing any more."""
        for repository in self._repositories.pop(lease, None) or ():
            self._drop(lease, repository)
        self._everywhere.discard(lease)

    def _drop(self, lease: Lease, repository: str) -> None:
        holders = self._holders.get(repository)
        if holders is not None:
            holders.discard(lease)
            if not holders:
                del self._holders[repository]
