"""One repository's manifests: which there are, which stay, and what those need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

import structlog

from metadata_service.blobs import Blobs
from metadata_service.garbage.references import References, references_of
from metadata_service.layout import Repository
from metadata_service.links import Links
from metadata_service.manifests.store import Revision
from metadata_service.manifests.stored import StoredManifests
from metadata_service.objects import Objects
from metadata_service.tags import Tags
from moorage.concurrency import for_each
from moorage.digest import SUPPORTED_ALGORITHMS, Digest, InvalidDigestError
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger("metadata_service.garbage")

# Names that are read of a folder in a call, and manifests that are read at a time: each may have 8 MiB.
_NAMES = 1000
_READ = 8


@dataclass(frozen=True, slots=True)
class Survey:
    """What a repository's manifests are and need. All digests are canonical."""

    kept: frozenset[Digest]
    # What `kept` needs, manifests of other indexes among it.
    needed: frozenset[Digest]
    untagged: tuple[Revision, ...]
    # Manifests without bytes.
    missing: tuple[Digest, ...]


class Surveyor:
    """Looks at repositories. Every method raises RegistryError when the storage fails."""

    def __init__(
        self, *, objects: Objects, links: Links, blobs: Blobs, stored: StoredManifests, tags: Tags
    ) -> None:
        self._objects = objects
        self._links = links
        self._blobs = blobs
        self._stored = stored
        self._tags = tags

    async def survey(self, repository: Repository, *, delete_untagged: bool) -> Survey:
        """Look at one repository.

        Raises RegistryError (MANIFEST_INVALID) for a manifest that is there and cannot be read: what it needs
        is not known, so nothing may be removed.
        """
        revisions = await self.revisions(repository)
        manifests = sorted(set(revisions.values()), key=str)
        found = await for_each(lambda each: self._read(repository, each), manifests, limit=_READ)
        read = {digest: each for digest, each in zip(manifests, found, strict=True) if each is not None}
        kept = frozenset(read)
        if delete_untagged:
            tagged = [revisions.get(each, each) for each in await self.tagged(repository)]
            kept = _kept(tagged, read, revisions)
        needed = await self._canonical(repository, (each for digest in kept for each in read[digest].needed))
        missing = tuple(each for each in manifests if each not in read)
        untagged = _revisions(
            (each for each in manifests if each in read and each not in kept), read, revisions
        )
        return Survey(kept, needed, untagged, missing)

    async def revisions(self, repository: Repository) -> dict[Digest, Digest]:
        """The canonical digest behind each digest under which the repository has a manifest."""
        digests = [each async for each in self._digests(repository.revisions)]
        return await self._links.resolve(digests, repository.revision_link)

    async def layers(self, repository: Repository) -> dict[Digest, Digest]:
        """The canonical digest that the link under each digest of a blob holds, believed or not."""
        digests = [each async for each in self._digests(repository.layers)]
        return await self._links.targets(digests, repository.layer_link)

    async def tagged(self, repository: Repository) -> set[Digest]:
        """What the repository's tags name."""
        return {digest async for _tag, digest in self._tags.all(repository)}

    async def _digests(self, folder: str) -> AsyncIterator[Digest]:
        """The digests that the folders in `folder`/<algorithm> are named after."""
        for algorithm in SUPPORTED_ALGORITHMS:
            after = ""
            while True:
                page = await self._objects.list_folder(f"{folder}/{algorithm}", after=after, limit=_NAMES)
                for digest in _named(algorithm, page.names):
                    yield digest
                if not (page.truncated and page.names):
                    break
                after = page.names[-1]

    async def _read(self, repository: Repository, digest: Digest) -> References | None:
        """What a manifest refers to; None if its bytes are missing."""
        manifest = await self._stored.read(repository, digest, digest)
        if manifest is not None and manifest.document:
            return references_of(manifest)
        if manifest is None and not await self._blobs.sizes([digest]):
            return None
        raise RegistryError(
            ErrorCode.MANIFEST_INVALID,
            {"name": repository.name, "digest": str(digest)},
            message=f"the manifest {digest} of {repository.name} cannot be read, so what it needs is not "
            "known; push it again or delete it",
        )

    async def _canonical(self, repository: Repository, digests: Iterable[Digest]) -> frozenset[Digest]:
        """The canonical digests of what is referred to, as far as the repository knows them."""
        needed = set(digests)
        aliases = sorted((each for each in needed if not each.is_canonical), key=str)
        for path in (repository.layer_link, repository.revision_link):
            needed |= set((await self._links.targets(aliases, path)).values())
        return frozenset(each for each in needed if each.is_canonical)


def _kept(
    tagged: Iterable[Digest], read: Mapping[Digest, References], revisions: Mapping[Digest, Digest]
) -> frozenset[Digest]:
    """The manifests that stay: those with a tag, the children of one that stays, and its referrers."""
    referrers: dict[Digest, list[Digest]] = {}
    for digest, references in read.items():
        if references.subject is not None:
            referrers.setdefault(revisions.get(references.subject, references.subject), []).append(digest)
    kept: set[Digest] = set()
    waiting = list(tagged)
    while waiting:
        digest = waiting.pop()
        if digest in kept or digest not in read:
            continue
        kept.add(digest)
        waiting += [revisions.get(each, each) for each in read[digest].needed]
        waiting += referrers.get(digest, ())
    return frozenset(kept)


def _revisions(
    digests: Iterable[Digest], read: Mapping[Digest, References], revisions: Mapping[Digest, Digest]
) -> tuple[Revision, ...]:
    aliases: dict[Digest, list[Digest]] = {}
    for digest, canonical in revisions.items():
        if digest != canonical:
            aliases.setdefault(canonical, []).append(digest)
    return tuple(Revision(each, tuple(aliases.get(each, ())), read[each].subject) for each in digests)


def _named(algorithm: str, names: Iterable[str]) -> list[Digest]:
    digests = []
    for name in names:
        try:
            digests.append(Digest.parse(f"{algorithm}:{name}"))
        except InvalidDigestError:
            log.warning("a folder is not named after a digest", algorithm=algorithm, name=name[:160])
    return digests
