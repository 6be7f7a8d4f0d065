"""A collection from mark to sweep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from metadata_service.blobs import Blobs
from metadata_service.catalog import Catalog
from metadata_service.garbage.events import Eligible, Entered, Event, Kind, Marked, Missing, Summary
from metadata_service.garbage.survey import Surveyor
from metadata_service.layout import Repository
from metadata_service.linked_blobs import LinkedBlobs
from metadata_service.manifests.store import Manifests, Revision
from metadata_service.metrics import COLLECTED, COLLECTIONS
from metadata_service.tags import Tags
from moorage.concurrency import for_each
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger("metadata_service.garbage")

# What is removed in one change: it holds locks and has the time of one call.
_STEP = 32

# Repositories of a page of the catalog, digests of a page of the blobs, and blobs that are removed at a time.
_REPOSITORIES = 1000
_BLOBS = 1000
_REMOVALS = 8

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Options:
    """`force` collects although the registry takes pushes."""

    dry_run: bool = False
    delete_untagged: bool = False
    force: bool = False


class Collector:
    """Collects garbage, one collection at a time."""

    def __init__(
        self,
        *,
        surveyor: Surveyor,
        catalog: Catalog,
        blobs: Blobs,
        linked_blobs: LinkedBlobs,
        manifests: Manifests,
        tags: Tags,
        read_only: bool,
    ) -> None:
        """`catalog` lists whatever has manifests or links; `read_only` is the registry's configuration."""
        self._surveyor = surveyor
        self._catalog = catalog
        self._blobs = blobs
        self._linked_blobs = linked_blobs
        self._manifests = manifests
        self._tags = tags
        self._read_only = read_only
        self._running = asyncio.Lock()

    async def collect(self, options: Options) -> AsyncGenerator[Event, None]:
        """Collect, telling each step; the last event is the summary.

        It may be left between any two events. Raises RegistryError: UNSUPPORTED when the registry takes
        pushes and it is not forced, UNAVAILABLE while another collection runs or the storage fails, and
        MANIFEST_INVALID, with nothing removed, for a manifest that cannot be read.
        """
        if not (self._read_only or options.force or options.dry_run):
            raise RegistryError(
                ErrorCode.UNSUPPORTED,
                message="the registry takes pushes, which a collection would damage: "
                "set storage.maintenance.readonly, stop the registry, or force it",
            )
        if self._running.locked():
            raise RegistryError(ErrorCode.UNAVAILABLE, message="a collection is under way")
        outcome = "failed"
        async with self._running:
            log.info(
                "garbage collection begins", dry_run=options.dry_run, delete_untagged=options.delete_untagged
            )
            summary = Summary()
            try:
                async for event in self._collect(options, summary):
                    yield event
                outcome = "dry run" if options.dry_run else "complete"
                yield summary
            finally:
                COLLECTIONS.labels(outcome).inc()
                log.info(
                    "garbage collection ends",
                    outcome=outcome,
                    marked=summary.marked,
                    blobs=summary.blobs,
                    manifests=summary.manifests,
                    links=summary.links,
                    bytes=summary.bytes,
                )

    async def _collect(self, options: Options, summary: Summary) -> AsyncIterator[Event]:
        # The digests alone, as bytes: half the memory of objects.
        marked: set[bytes] = set()
        untagged: dict[Repository, Sequence[Revision]] = {}
        async for repository in self._repositories():
            summary.repositories += 1
            yield Entered(repository.name)
            survey = await self._surveyor.survey(repository, delete_untagged=options.delete_untagged)
            for digest in survey.missing:
                yield Missing(repository.name, digest)
            for digest in sorted(survey.kept, key=str):
                yield Marked(Kind.MANIFEST, repository.name, digest)
            for digest in sorted(survey.needed - survey.kept, key=str):
                yield Marked(Kind.BLOB, repository.name, digest)
            marked.update(_key(digest) for digest in survey.kept | survey.needed)
            if survey.untagged:
                untagged[repository] = survey.untagged
        summary.marked = len(marked)
        for repository, revisions in untagged.items():
            async for event in self._remove_manifests(repository, revisions, options, summary):
                yield event
        async for repository in self._repositories():
            async for event in self._remove_links(repository, marked, options, summary):
                yield event
        async for event in self._remove_blobs(marked, options, summary):
            yield event

    async def _remove_manifests(
        self, repository: Repository, revisions: Sequence[Revision], options: Options, summary: Summary
    ) -> AsyncIterator[Event]:
        if not options.dry_run:
            if not self._read_only:
                # Some may have got a tag since they were looked at.
                tagged = await self._surveyor.tagged(repository)
                revisions = [each for each in revisions if tagged.isdisjoint(each.digests)]
            await self._tags.forget(repository, {digest for each in revisions for digest in each.digests})
        for step in _steps(revisions):
            if not options.dry_run:
                await self._manifests.remove(repository, step)
            for revision in step:
                summary.manifests += 1
                _count(options, Kind.MANIFEST)
                yield Eligible(Kind.MANIFEST, repository.name, revision.canonical)

    async def _remove_links(
        self, repository: Repository, marked: set[bytes], options: Options, summary: Summary
    ) -> AsyncIterator[Event]:
        layers = await self._surveyor.layers(repository)
        dead = sorted((each for each, target in layers.items() if _key(target) not in marked), key=str)
        for step in _steps(dead):
            if not options.dry_run:
                await self._linked_blobs.remove_links(repository, {each: layers[each] for each in step})
            for digest in step:
                summary.links += 1
                _count(options, Kind.LINK)
                yield Eligible(Kind.LINK, repository.name, digest)

    async def _remove_blobs(
        self, marked: set[bytes], options: Options, summary: Summary
    ) -> AsyncIterator[Event]:
        after = ""
        while True:
            digests, more = await self._blobs.page(after, _BLOBS)
            for step in _steps([each for each in digests if _key(each) not in marked]):
                sizes = await self._blobs.sizes(step)
                if not options.dry_run:
                    await for_each(self._blobs.delete, step, limit=_REMOVALS)
                    self._linked_blobs.forget_bytes(step)
                for digest in step:
                    size = sizes.get(digest, 0)
                    summary.blobs += 1
                    summary.bytes += size
                    _count(options, Kind.BLOB)
                    yield Eligible(Kind.BLOB, "", digest, size)
            if not (more and digests):
                return
            after = str(digests[-1])

    async def _repositories(self) -> AsyncIterator[Repository]:
        last, more = "", True
        while more:
            page = await self._catalog.page(last, _REPOSITORIES)
            names, more = page.repositories, page.more
            for name in names:
                yield Repository(name)
            last = names[-1] if names else last


def _key(digest: Digest) -> bytes:
    return bytes.fromhex(digest.hex)


def _count(options: Options, kind: Kind) -> None:
    if not options.dry_run:
        COLLECTED.labels(kind.value).inc()


def _steps(items: Sequence[_T]) -> list[Sequence[_T]]:
    return [items[start : start + _STEP] for start in range(0, len(items), _STEP)]
