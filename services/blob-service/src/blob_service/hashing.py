"""The running hash of an upload: its bytes are hashed once, as they pass.

A running hash covers the first `offset` bytes of an upload. An upload only grows at its end, so what was
hashed stays true, however many instances continue it; one that knows less than what is stored catches up
from there. A hash lives in memory only: it is never written down, and a restarted instance begins anew.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor

from blob_service.layout import UploadKey
from moorage.digest import CANONICAL_ALGORITHM, Digest, new_hash

# Less than this is hashed faster than a thread is woken (some 40 us of SHA-256).
_INLINE_BYTES = 64 * 1024

_REMEMBERED = 10_000
_IDLE_SECONDS = 3600.0


def new_executor() -> ThreadPoolExecutor:
    """The threads that hash, one for each processor: hashlib lets go of the interpreter's lock."""
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="hash")


async def digest_of(content: bytes, executor: Executor, algorithm: str = CANONICAL_ALGORITHM) -> Digest:
    """The digest of `content`, computed off the event loop when that pays."""
    if len(content) <= _INLINE_BYTES:
        return Digest.of(content, algorithm)
    return await asyncio.get_running_loop().run_in_executor(executor, Digest.of, content, algorithm)


class RunningHash:
    """Hashes of the first `offset` bytes of a stream, canonical algorithm included."""

    def __init__(self, executor: Executor, algorithms: Collection[str] = ()) -> None:
        self._executor = executor
        self._hashes = {name: new_hash(name) for name in {CANONICAL_ALGORITHM, *algorithms}}
        self.offset = 0

    @property
    def algorithms(self) -> frozenset[str]:
        """What is computed."""
        return frozenset(self._hashes)

    async def update(self, data: bytes | memoryview) -> None:
        """Add the bytes that follow. Once begun it must be awaited to its end; one call at a time."""
        if len(data) <= _INLINE_BYTES:
            self._update(data)
        else:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._update, data)
        self.offset += len(data)

    def digest(self, algorithm: str = CANONICAL_ALGORITHM) -> Digest:
        """The digest of the bytes so far; raises KeyError for an algorithm that is not computed."""
        return Digest(algorithm, self._hashes[algorithm].hexdigest())

    def _update(self, data: bytes | memoryview) -> None:
        for running in self._hashes.values():
            running.update(data)


class RunningHashes:
    """The running hashes of uploads that no call has at the moment: the ones used last, and not for ever."""

    def __init__(
        self,
        *,
        limit: int = _REMEMBERED,
        idle_seconds: float = _IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._entries: OrderedDict[UploadKey, tuple[float, RunningHash]] = OrderedDict()

    def put(self, key: UploadKey, running: RunningHash) -> None:
        """Remember a hash; the oldest one is forgotten when there are too many."""
        self._entries[key] = (self._clock(), running)
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        self._expire()

    def take(self, key: UploadKey) -> RunningHash | None:
        """The hash of an upload, which is the caller's from now on, or None."""
        self._expire()
        _, running = self._entries.pop(key, (0.0, None))
        return running

    def __len__(self) -> int:
        return len(self._entries)

    def _expire(self) -> None:
        before = self._clock() - self._idle_seconds
        while self._entries:
            key, (used, _) = next(iter(self._entries.items()))
            if used >= before:
                return
            del self._entries[key]
