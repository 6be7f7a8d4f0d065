"""The names in a folder, of which there may be a hundred thousand. The calls here block.

A folder is an open descriptor. The folder of a repository's tags is what makes the time that these take
matter: a system call for each name is most of it.
"""

from __future__ import annotations

import heapq
import os
import re
import stat
from collections.abc import Iterator

from blob_service.drivers.paths import are_names, is_name

TMP = ".tmp"

# What a file is called until it is whole: `<name>.<uuid>.tmp`.
LEFTOVER = re.compile(rf".+\.[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}\{TMP}")


def names(folder: int, after: str = "") -> list[str]:
    """The names in a folder that are greater than `after`, in no order.

    Without those that no path can name (`lost+found`), and without files that a crash left behind.
    """
    found = _nameable(os.listdir(folder), after)
    left = {name for name in found if name.endswith(TMP) and is_leftover(folder, name)}
    return [name for name in found if name not in left] if left else found


def names_having(folder: int, after: str, limit: int | None, having: str) -> list[str]:
    """The first `limit` names greater than `after`, in byte order, below which `having` exists.

    Only a folder, and no link to one, has something below it. A link further down counts as what it leads to;
    reading through it fails.
    """
    with os.scandir(folder) as entries:
        folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    candidates = _nameable(folders, after)
    found: list[str] = []
    # Mostly all have it, and then the first few will do.
    for name in _in_order(candidates, limit or len(candidates)):
        if limit is not None and len(found) == limit:
            break
        if _exists(folder, name, having):
            found.append(name)
    return found


def _in_order(names: list[str], few: int) -> Iterator[str]:
    """The names in byte order; to be cheap for whoever takes no more than a `few`."""
    begin = first(names, few)
    yield from begin
    if len(begin) < len(names):
        yield from sorted(names)[len(begin) :]


def _nameable(names: list[str], after: str) -> list[str]:
    """Those that a path can name and that are greater than `after`."""
    if after:
        names = [name for name in names if name > after]
    # There may be a hundred thousand: one pattern over all of them tells in a tenth of the time.
    return names if are_names(names) else [name for name in names if is_name(name)]


def first(names: list[str], limit: int | None) -> list[str]:
    """The first `limit` names in byte order."""
    if limit is not None and limit < len(names) // 64:
        return heapq.nsmallest(limit, names)
    return sorted(names)[:limit]


def is_leftover(folder: int, name: str) -> bool:
    """Whether a file of that name, which is in the folder or just gone, is one that a crash left behind."""
    if LEFTOVER.fullmatch(name) is None:
        return False
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True


def _exists(folder: int, name: str, below: str) -> bool:
    """Whether the path `below` is there in folder `name`."""
    path = f"{name}/{below}"
    # Half the time of a `stat`, but it says no to every failure.
    if os.access(path, os.F_OK, dir_fd=folder, follow_symlinks=False):
        return True
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
