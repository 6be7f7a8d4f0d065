"""Tags: a name for a manifest, which can move to another one.

A tag is there as soon as its `current/link` is. That is all a listing looks at: a tag whose manifest is
gone (registries before this one leave such tags behind) is listed, cannot be pulled, and can be deleted.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

from metadata_service.changes import Changes, tag_key
from metadata_service.layout import CURRENT_LINK, Repository
from metadata_service.links import Links
from metadata_service.objects import Objects
from metadata_service.refusals import manifest_unknown, name_unknown
from moorage.concurrency import for_each
from moorage.digest import Digest
from moorage.reference import InvalidReferenceError, parse_tag

# A page never holds more tags, whatever its limit. Each page costs the storage a look at the whole folder,
# so they are large; so many of the longest names still fit a message.
MAX_PAGE = 100_000

# Tags that are read together in a scan, and notes of each that are listed.
_SCAN = 64
_NOTES = 1000


class Tags:
    """The tags of repositories. Every method raises RegistryError when the storage fails."""

    def __init__(self, objects: Objects, links: Links, changes: Changes, *, concurrency: int) -> None:
        """`concurrency` is how many reads a scan of all tags does at a time; 0 for one for each processor."""
        self._objects = objects
        self._links = links
        self._changes = changes
        self._concurrency = concurrency or os.cpu_count() or 1

    async def get(self, repository: Repository, tag: str) -> Digest:
        """The digest of the manifest that a tag names; raises RegistryError (MANIFEST_UNKNOWN)."""
        (digest,) = await self._links.read([repository.tag_current(tag)])
        if digest is None:
            raise manifest_unknown(repository, tag)
        return digest

    async def present(self, repository: Repository, tags: Sequence[str]) -> dict[str, Digest]:
        """What those of the tags that are there name."""
        targets = await self._links.read([repository.tag_current(tag) for tag in tags])
        return {tag: target for tag, target in zip(tags, targets, strict=True) if target is not None}

    async def page(self, repository: Repository, last: str, limit: int | None) -> tuple[list[str], bool]:
        """The tags after `last` in byte order, at most `limit` (None: MAX_PAGE), and whether there are more.

        Raises RegistryError (NAME_UNKNOWN) if there is no such repository.
        """
        wanted = MAX_PAGE if limit is None else min(limit, MAX_PAGE)
        if wanted == 0:
            await self._require(repository)
            return [], False
        tags: list[str] = []
        position: str | None = last
        while position is not None and len(tags) < wanted:
            names, position = await self._next(repository, position, wanted - len(tags))
            tags += names
        if not tags:
            await self._require(repository)
        return tags, position is not None

    async def all(self, repository: Repository) -> AsyncIterator[tuple[str, Digest]]:
        """Every tag with the digest that it names, in the order of a scan; not one that names none."""
        position: str | None = ""
        while position is not None:
            names, position = await self._next(repository, position, _SCAN * self._concurrency)
            for named in (await self.present(repository, names)).items():
                yield named

    async def forget(self, repository: Repository, digests: Collection[Digest]) -> None:
        """Remove the notes that a tag once named one of these manifests."""
        position: str | None = ""
        while position is not None:
            tags, position = await self._next(repository, position, _SCAN * self._concurrency)
            for algorithm in sorted({digest.algorithm for digest in digests}):
                some = {digest.hex: digest for digest in digests if digest.algorithm == algorithm}
                folders = [repository.tag_indexes(tag, algorithm) for tag in tags]
                notes: list[str] = []
                for tag, folder in zip(
                    tags, await self._objects.list_folders(folders, limit=_NOTES), strict=True
                ):
                    # Of a tag that was moved very often only a part was listed.
                    names = some if folder.truncated else folder.names
                    notes += [repository.tag_index(tag, some[name]) for name in names if name in some]
                await self._objects.delete(notes)

    async def remove(self, repository: Repository, tag: str) -> bool:
        """Remove a tag; false if it was not there."""
        async with self._changes.removing(tag_key(repository.name, tag)):
            return await self._remove(repository, tag)

    async def remove_naming(self, repository: Repository, digests: Collection[Digest]) -> list[str]:
        """Remove every tag that names one of these digests; returns them in byte order.

        Tags that come to name one of them meanwhile may stay: the caller keeps such pushes off.
        """

        async def scan(part: Sequence[str]) -> list[str]:
            naming = await self._naming(repository, part, digests)
            return [tag for tag in naming if await self._remove_if_naming(repository, tag, digests)]

        return await self._scan(repository, scan)

    async def naming(self, repository: Repository, digests: Collection[Digest]) -> list[str]:
        """Every tag that names one of these digests, in byte order."""
        return await self._scan(repository, lambda part: self._naming(repository, part, digests))

    async def _scan(
        self, repository: Repository, scan: Callable[[Sequence[str]], Awaitable[list[str]]]
    ) -> list[str]:
        """What `scan` finds among all tags, of which it gets a part at a time."""
        found: list[str] = []
        position: str | None = ""
        while position is not None:
            names, position = await self._next(repository, position, _SCAN * self._concurrency)
            parts = [names[start : start + _SCAN] for start in range(0, len(names), _SCAN)]
            for tags in await for_each(scan, parts, limit=self._concurrency):
                found += tags
        return found

    async def _naming(
        self, repository: Repository, tags: Sequence[str], digests: Collection[Digest]
    ) -> list[str]:
        present = await self.present(repository, tags)
        return [tag for tag, target in present.items() if target in digests]

    async def _remove_if_naming(self, repository: Repository, tag: str, digests: Collection[Digest]) -> bool:
        async with self._changes.removing(tag_key(repository.name, tag)):
            # A push may have moved the tag since it was read.
            (target,) = await self._links.read([repository.tag_current(tag)])
            return target in digests and await self._remove(repository, tag)

    async def _remove(self, repository: Repository, tag: str) -> bool:
        # The link that makes it a tag goes first: a folder does not vanish at once.
        current = repository.tag_current(tag)
        return current in await self._objects.delete([current, repository.tag(tag)])

    async def _next(self, repository: Repository, after: str, limit: int) -> tuple[list[str], str | None]:
        """At most `limit` tags after a name, and the name after which to go on; None when that was all."""
        folder = await self._objects.list_folder(
            repository.tags, after=after, limit=limit, having=CURRENT_LINK
        )
        position = folder.names[-1] if folder.truncated and folder.names else None
        return [name for name in folder.names if _is_tag(name)], position

    async def _require(self, repository: Repository) -> None:
        if not any(await self._objects.exist([repository.manifests, repository.layers])):
            raise name_unknown(repository)


def _is_tag(name: str) -> bool:
    try:
        parse_tag(name)
    except InvalidReferenceError:
        return False
    return True
