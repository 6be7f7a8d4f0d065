"""The tree of names: a folder is an omap, and an entry changes only from what its changer knows it to be.

Why no name of a file that is there is ever cut off from its folders:

- Whoever adds an entry to a folder looks afterwards whether the folder has an entry in its own folder, up to
  the root, and adds what is missing (`link`).
- A folder object goes only when it is empty, and after its entry in its own folder. So who adds an entry too
  late for the one that removes the folder to see it, finds that way missing and makes it again.
"""

from __future__ import annotations

import asyncio
import errno

from blob_service.drivers.errors import DriverError
from blob_service.drivers.paths import ROOT, join, split
from blob_service.drivers.rados import operations
from blob_service.drivers.rados.pool import OMAP_PAGE, Pool
from blob_service.drivers.rados.settings import NAME

# What an entry says of a folder; of a file it says the id of its data.
FOLDER = ""


class Folders:
    """The entries of the folders of one pool. Raises OSError as the pool does."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def entry(self, path: str) -> str | None:
        """What is at a path: a data id, FOLDER, or None for nothing."""
        folder, name = split(path)
        try:
            return (await self._pool.entry(folder, name)).get(name)
        except FileNotFoundError:
            return None

    async def page(self, folder: str, *, after: str = "", limit: int = OMAP_PAGE) -> list[tuple[str, str]]:
        """Names greater than `after`, and what each is, in byte order; none at all when there are no more."""
        try:
            return await self._pool.entries(folder, after=after, limit=limit)
        except FileNotFoundError:
            return []

    async def all(self, folder: str) -> list[tuple[str, str]]:
        """All names in a folder, and what each is, in byte order."""
        found: list[tuple[str, str]] = []
        while page := await self.page(folder, after=found[-1][0] if found else ""):
            found += page
        return found

    async def exchange(self, path: str, old: str | None, new: str) -> bool:
        """Set what is at a path, if it still is `old`; False, and nothing done, if it is not."""
        folder, name = split(path)
        return await self._change(
            folder,
            operations.create(),
            operations.expect_entry(name, old or ""),
            operations.set_entries({name: new}),
        )

    async def remove(self, path: str, old: str) -> bool:
        """Remove the entry of a path, if it still is `old`; False, and nothing done, if it is not."""
        folder, name = split(path)
        return await self._change(folder, operations.expect_entry(name, old), operations.remove_entry(name))

    async def check_way(self, path: str) -> None:
        """Raise DriverError if a file is where the path needs a folder."""
        await self._missing_above(path)

    async def link(self, path: str) -> None:
        """Let every folder above `path` have an entry. Raises DriverError if a file is in the way.

        Called after the path's own entry was made.
        """
        # Upwards, and again until all were seen after the last was made: see above.
        while missing := await self._missing_above(path):
            for folder in missing:
                await self.exchange(folder, None, FOLDER)

    async def _missing_above(self, path: str) -> list[str]:
        """The folders above a path that have no entry, the nearest first."""
        folders = []
        while (path := split(path)[0]) != ROOT:
            folders.append(path)
        entries = await asyncio.gather(*(self.entry(folder) for folder in folders))
        for folder, entry in zip(folders, entries, strict=True):
            if entry:
                raise DriverError(NAME, f"{folder}: a file is where a folder is needed")
        return [folder for folder, entry in zip(folders, entries, strict=True) if entry is None]

    async def remove_if_empty(self, folder: str) -> bool:
        """Remove a folder's object, after the folder's entry, if it has no entries; whether it is gone."""
        return await self._pool.remove_if_empty(folder)

    async def has(self, folder: str, relative: str) -> bool:
        """Whether a path below a folder exists, as a file or as a folder."""
        return await self.entry(join(folder, relative)) is not None

    async def _change(self, folder: str, *steps: operations.Step) -> bool:
        try:
            await self._pool.write(folder, *steps)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ECANCELED:
                return False
            raise
        return True
