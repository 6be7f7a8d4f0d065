"""Which paths refer to some data, where more than one may: while a file moves, and after a crash then.

Data that was never moved has no list: its one reference is the path that it was written for. A move lists the
old and the new path before it makes the new entry, and takes the old one off the list at its end. So whatever
step a crash cuts off, data goes only with the last path that may refer to it; at worst it stays, as garbage.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

from blob_service.drivers.rados import operations
from blob_service.drivers.rados.names import REFERENCES, stripe_name
from blob_service.drivers.rados.pool import Pool

# Not in any path.
_SEPARATOR = "\n"


def parse(listed: str) -> set[str]:
    """The paths of a list as it is stored; empty for no list."""
    return set(listed.split(_SEPARATOR)) - {""}


def pack(paths: set[str]) -> str:
    """A list as it is stored."""
    return _SEPARATOR.join(sorted(paths))


async def add(pool: Pool, data: str, present: str, additional: str) -> None:
    """Note that `additional` may refer to the data as well as `present`, which does.

    Raises FileNotFoundError if the data is gone.
    """
    await _change(pool, data, lambda paths: (paths or {present}) | {additional})


async def drop(pool: Pool, data: str, path: str) -> None:
    """Note that a path does not refer to the data any more, while others do.

    Raises FileNotFoundError if the data is gone.
    """
    await _change(pool, data, lambda paths: paths - {path})


async def replace(pool: Pool, data: str, paths: set[str]) -> None:
    """Note which paths refer to the data. Raises FileNotFoundError if the data is gone."""
    await _change(pool, data, lambda _: paths)


async def swap(
    pool: Pool, data: str, known: str, *steps: operations.Step, modified: int | None = None
) -> bool:
    """Do steps to stripe 0 if its list still is `known`; False, and nothing done, if it is not.

    `modified` as in `Pool.write`. Raises FileNotFoundError if the data is gone.
    """
    first, expected = stripe_name(data, 0), operations.expect_entry(REFERENCES, known)
    try:
        await pool.write(first, expected, *steps, modified=modified)
    except OSError as error:
        if error.errno == errno.ECANCELED:
            return False
        raise
    return True


async def _change(pool: Pool, data: str, change: Callable[[set[str]], set[str]]) -> None:
    first = stripe_name(data, 0)
    while True:
        entries, stat = await asyncio.gather(pool.entry(first, REFERENCES), pool.stat(first))
        listed = entries.get(REFERENCES, "")
        changed = pack(change(parse(listed)))
        if changed == listed:
            return
        # The content stays as old as it is.
        step = operations.set_entries({REFERENCES: changed})
        if await swap(pool, data, listed, step, modified=stat.modified):
            return
