"""Repositories that are changing, and the look-ups that must not be relied on because of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType

import structlog

from metadata_service.refusals import outcome_is_known

log = structlog.get_logger("metadata_service.leases")


class Watch:
    """One look-up in a repository: whether the repository stayed as it was since the watch began."""

    __slots__ = ("repository", "undisturbed")

    def __init__(self, repository: str, *, undisturbed: bool) -> None:
        self.repository = repository
        self.undisturbed = undisturbed


class Mark:
    """A repository is changing, from the moment at which its holders are told until storage has settled.

    As a context manager it stands around the change of storage. A change whose outcome is not known, because
    storage did not answer, may still happen: then the mark stays for `settling` seconds.
    """

    def __init__(self, marks: Marks, repository: str, settling: float) -> None:
        self._marks = marks
        self._repository = repository
        self._settling = settling

    def __enter__(self) -> Mark:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None or outcome_is_known(error):
            self.lift()
            return
        log.warning(
            "the outcome of a change is not known: its repository's answers are not kept for a while",
            repository=self._repository,
            seconds=self._settling,
        )
        asyncio.get_running_loop().call_later(self._settling, self.lift)

    def lift(self) -> None:
        """The repository is not changing any more on this account. Once for each mark."""
        self._marks.lift(self._repository)


class Marks:
    """The marks and the watches. A watch is disturbed by every mark that it meets."""

    def __init__(self, *, settling: float) -> None:
        """`settling` is for how many seconds a change of unknown outcome may still happen."""
        self._settling = settling
        self._marked: Counter[str] = Counter()
        self._watches: dict[str, set[Watch]] = {}

    def set(self, repository: str) -> Mark:
        """Mark a repository as changing."""
        self._marked[repository] += 1
        for watch in self._watches.get(repository, ()):
            watch.undisturbed = False
        return Mark(self, repository, self._settling)

    def lift(self, repository: str) -> None:
        """Take one mark away."""
        self._marked[repository] -= 1
        if not self._marked[repository]:
            del self._marked[repository]

    def watch(self, repository: str) -> Watch:
        """Watch a repository until `unwatch`."""
        watch = Watch(repository, undisturbed=repository not in self._marked)
        self._watches.setdefault(repository, set()).add(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch."""
        watches = self._watches.get(watch.repository)
        if watches is not None:
            watches.discard(watch)
            if not watches:
                del self._watches[watch.repository]
