"""Files that are read again when they change, so that no restart is needed for a new password or key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import structlog

from api_gateway.metrics import ACCESS_RELOAD_FAILURES
from moorage.config import ConfigurationError

_T = TypeVar("_T")

# What tells a file from the one that was read: its time, its inode, its size. None for no file.
_Signature = tuple[int, int, int] | None

# Seconds between two looks at the files.
INTERVAL = 1.0

log = structlog.get_logger("api_gateway.access")


@asynccontextmanager
async def reloading(
    paths: Sequence[str], load: Callable[[], _T], take: Callable[[_T], None], *, interval: float | None = None
) -> AsyncIterator[None]:
    """Hand what `load` reads to `take`: before the context opens, then whenever one of the files changes.

    `load` runs in a thread. What it raises at first (ConfigurationError) passes through; later it is logged,
    and what was taken before stays.
    """
    seen, loaded = await asyncio.to_thread(_read, paths, load)
    take(loaded)
    watching = asyncio.create_task(
        _watch(paths, load, take, seen, INTERVAL if interval is None else interval)
    )
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(
    paths: Sequence[str],
    load: Callable[[], _T],
    take: Callable[[_T], None],
    seen: list[_Signature],
    interval: float,
) -> None:
    complaint = ""
    while True:
        await asyncio.sleep(interval)
        try:
            if await asyncio.to_thread(_signatures, paths) == seen and not complaint:
                continue
            now, loaded = await asyncio.to_thread(_read, paths, load)
        except Exception as error:
            # Whatever it is, what was read before is better than nobody watching.
            reason = (
                str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"
            )
            if reason != complaint:
                complaint = reason
                ACCESS_RELOAD_FAILURES.inc()
                log.error(  # noqa: TRY400  the reason is in words
                    "a file of access control cannot be read again: what it held stays", reason=reason
                )
            continue
        seen, complaint = now, ""
        take(loaded)
        log.info("access control has read its files again", files=", ".join(paths))


def _read(paths: Sequence[str], load: Callable[[], _T]) -> tuple[list[_Signature], _T]:
    # Looked at first: a file that changes while it is read will look changed.
    return _signatures(paths), load()


def _signatures(paths: Sequence[str]) -> list[_Signature]:
    return [_signature(path) for path in paths]


def _signature(path: str) -> _Signature:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
