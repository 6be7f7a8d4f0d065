"""What crashes and losses have left in a pool, and how it is mended.

Two passes over the names of all objects: first the folders, whose entries say what data there must be, then
the data. A file that comes, goes or moves meanwhile must not be taken for garbage. So nothing counts as
garbage that was changed lately; before anything is removed, it is looked at again; and data that moved names
its paths itself (`references.py`), should both of its folders have been read at the wrong moment.

It keeps a path and an id for each file in memory: some 400 MB for a million files.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from blob_service.drivers.errors import DriverError
from blob_service.drivers.interface import Finding
from blob_service.drivers.paths import ROOT, join
from blob_service.drivers.rados import references
from blob_service.drivers.rados.failures import storage_errors
from blob_service.drivers.rados.folders import FOLDER, Folders
from blob_service.drivers.rados.leases import has_run_out, remove_dead
from blob_service.drivers.rados.names import (
    REFERENCES,
    WRITER,
    lease_name,
    parse_lease,
    parse_stripe,
    stripe_name,
)
from blob_service.drivers.rados.pool import Pool
from blob_service.drivers.rados.stripes import Stripes

UNREFERENCED = "data that no path refers to"
BEYOND_END = "a stripe beyond the end of its file"
LOST_DATA = "a path whose data is lost"
LOST_STRIPES = "a file that lacks stripes"
OUT_OF_SIGHT = "a folder that its own folder does not list"
UNLISTED_PATHS = "data that does not know all paths that refer to it"
DEAD_LEASE = "the lease of a writer that has died"
STRANGE = "an object of something else"


class PoolCheck:
    """One check of one pool."""

    def __init__(
        self, pool: Pool, folders: Folders, stripes: Stripes, *, repair: bool, older_than: float
    ) -> None:
        self._pool = pool
        self._folders = folders
        self._stripes = stripes
        self._repair = repair
        self._changed_before = time.time() - older_than
        # The paths that refer to each data id: most often one.
        self._paths: dict[str, tuple[str, ...]] = {}
        # How many stripes of each id there are, beside stripe 0.
        self._further: dict[str, int] = {}

    async def findings(self) -> AsyncGenerator[Finding, None]:
        """What is found, as it is found. Raises StorageError when the cluster does not answer."""
        with storage_errors(ROOT):
            async for found in self._check_names():
                yield found
            missing = set(self._paths)
            async for name in self._pool.names():
                if (stripe := parse_stripe(name)) is None:
                    continue
                data, number = stripe
                if number == 0:
                    missing.discard(data)
                elif data in self._paths:
                    self._further[data] = self._further.get(data, 0) + 1
                if (finding := await self._check_stripe(name, data, number)) is not None:
                    yield finding
            for data in missing:
                for path in self._paths[data]:
                    if (finding := await self._check_lost(path, data)) is not None:
                        yield finding
            for data in set(self._paths) - missing:
                if (finding := await self._check_whole(data)) is not None:
                    yield finding
                if (finding := await self._check_references(data)) is not None:
                    yield finding

    async def _check_names(self) -> AsyncGenerator[Finding, None]:
        """The first pass: folders, leases, and what is neither of these nor data."""
        async for name in self._pool.names():
            finding = None
            if name.startswith(ROOT):
                for entry, data in await self._folders.all(name):
                    if data != FOLDER:
                        self._paths[data] = (*self._paths.get(data, ()), join(name, entry))
                finding = await self._check_folder(name)
            elif (path := parse_lease(name)) is not None:
                finding = await self._check_lease(path)
            elif parse_stripe(name) is None:
                finding = Finding(STRANGE, name, "nothing of this driver has such a name")
            if finding is not None:
                yield finding

    async def _check_folder(self, folder: str) -> Finding | None:
        if folder == ROOT or await self._folders.entry(folder) is not None:
            return None
        if await self._folders.page(folder, limit=1):
            if self._repair:
                try:
                    # Its entry, and what is missing above.
                    await self._folders.exchange(folder, None, FOLDER)
                    await self._folders.link(folder)
                except DriverError as error:
                    return Finding(OUT_OF_SIGHT, folder, str(error))
            return Finding(OUT_OF_SIGHT, folder, "it has entries", self._repair)
        if self._repair:
            await self._folders.remove_if_empty(folder)
        return Finding(OUT_OF_SIGHT, folder, "it is empty", self._repair)

    async def _check_lease(self, path: str) -> Finding | None:
        if not await self._is_old(lease_name(path)) or not await has_run_out(self._pool, path):
            return None
        removed = self._repair and await remove_dead(self._pool, path)
        return Finding(DEAD_LEASE, path, repaired=removed)

    async def _check_stripe(self, name: str, data: str, number: int) -> Finding | None:
        if data in self._paths:
            return await self._check_beyond_end(name, data, number) if number else None
        if not await self._is_old(name):
            return None
        entries = await self._stripe_entries(data)
        if entries is None:
            # Nothing leads to it without stripe 0.
            return await self._removed(UNREFERENCED, name)
        if number:
            # It goes with stripe 0, or stays with it.
            return None
        for path in references.parse(entries.get(REFERENCES, "")):
            if await self._folders.entry(path) == data:
                return None
        removed = self._repair and await self._stripes.remove_data(data, entries)
        return Finding(UNREFERENCED, data, repaired=removed)

    async def _check_beyond_end(self, name: str, data: str, number: int) -> Finding | None:
        entries = await self._stripe_entries(data)
        if entries is None or WRITER in entries:
            # Lost altogether, which is found later; or being written.
            return None
        if number < (await self._stripes.describe(data)).stripes or not await self._is_old(name):
            return None
        return await self._removed(BEYOND_END, name)

    async def _check_lost(self, path: str, data: str) -> Finding | None:
        if await self._folders.entry(path) != data or await self._stripe_entries(data) is not None:
            return None
        if self._repair:
            await self._folders.remove(path, data)
        return Finding(LOST_DATA, path, data, self._repair)

    async def _check_whole(self, data: str) -> Finding | None:
        entries = await self._stripe_entries(data)
        if entries is None or WRITER in entries or not await self._is_old(stripe_name(data, 0)):
            return None
        lost = (await self._stripes.describe(data)).stripes - 1 - self._further.get(data, 0)
        if lost <= 0:
            return None
        return Finding(LOST_STRIPES, self._paths[data][0], f"{lost} of {data}: push it again")

    async def _check_references(self, data: str) -> Finding | None:
        """Paths that share data without its knowledge: it would go with the first of them."""
        if len(self._paths[data]) == 1:
            return None
        entries = await self._stripe_entries(data)
        paths = {path for path in self._paths[data] if await self._folders.entry(path) == data}
        if entries is None or len(paths) < 2 or paths <= references.parse(entries.get(REFERENCES, "")):
            return None
        if self._repair:
            for path in paths:
                await references.add(self._pool, data, path, path)
        return Finding(UNLISTED_PATHS, data, f"shared by {', '.join(sorted(paths))}", self._repair)

    async def _stripe_entries(self, data: str) -> dict[str, str] | None:
        """What stripe 0 says in its omap; None when it is not there."""
        try:
            return await self._pool.entry(stripe_name(data, 0), REFERENCES, WRITER)
        except FileNotFoundError:
            return None

    async def _is_old(self, name: str) -> bool:
        """Whether an object is there, and nobody has changed it lately."""
        try:
            return (await self._pool.stat(name)).modified <= self._changed_before
        except FileNotFoundError:
            return False

    async def _removed(self, kind: str, name: str) -> Finding:
        if self._repair:
            await self._stripes.remove_stripe(name)
        return Finding(kind, name, repaired=self._repair)
