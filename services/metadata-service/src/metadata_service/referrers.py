"""Referrers: the manifests of a repository whose subject is a given digest.

Source: OCI distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema".

A push of a manifest with a subject leaves an entry beside distribution's tree (`layout.py`). An entry
alone proves nothing: a referrer is listed when its revision link is there and its content names the
subject. Clients of registries without this API, docker-registry 2.8 among them, keep the list themselves
in an index under a fallback tag; what such an index names is listed too, as far as it is in the
repository and names no other subject.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from metadata_service.layout import LINK, Repository
from metadata_service.links import Links
from metadata_service.manifests.stored import StoredManifest, StoredManifests
from metadata_service.objects import Objects
from moorage.concurrency import for_each
from moorage.digest import SUPPORTED_ALGORITHMS, Digest, InvalidDigestError

# A page never holds more referrers, whatever its limit, nor more bytes of annotations than this (its
# first one apart).
MAX_PAGE = 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024

# Entries that are listed in one call, and manifests that are read together.
_LISTED = 256
_READ = 8

# What the tag schema cuts an algorithm and its hex to.
_TAG_ALGORITHM = 32
_TAG_HEX = 64


@dataclass(frozen=True, slots=True)
class Referrer:
    """What a listing says of a referrer. `size` is in bytes; `artifact_type` is empty for none."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str
    annotations: Mapping[str, str]

    @classmethod
    def of(cls, manifest: StoredManifest) -> Referrer:
        """The entry of a manifest. It does not hold on to the manifest's content."""
        return cls(
            manifest.digest,
            manifest.media_type,
            len(manifest.content),
            manifest.artifact_type,
            manifest.annotations,
        )

    @property
    def weight(self) -> int:
        """Bytes that it takes in a page, about."""
        texts = (self.artifact_type, *self.annotations.keys(), *self.annotations.values())
        return sum(len(text.encode()) for text in texts)


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """Referrers ordered by digest; `more` if others follow."""

    referrers: tuple[Referrer, ...]
    more: bool


def fallback_tag(subject: Digest) -> str:
    """The tag under which clients keep a subject's referrers when the registry does not."""
    return f"{subject.algorithm[:_TAG_ALGORITHM]}-{subject.hex[:_TAG_HEX]}"


class Referrers:
    """Lists referrers. Every method raises RegistryError when the storage fails."""

    def __init__(self, objects: Objects, links: Links, stored: StoredManifests) -> None:
        self._objects = objects
        self._links = links
        self._stored = stored

    async def page(
        self, repository: Repository, subject: Digest, *, artifact_type: str, last: str, limit: int
    ) -> ReferrersPage:
        """The referrers after the digest `last`, at most `limit`, of one artifact type or (empty) of any."""
        wanted = min(limit, MAX_PAGE)
        if wanted <= 0:
            return ReferrersPage((), more=False)
        folded = await self._folded(repository, subject)
        page: list[Referrer] = []
        weight = 0
        while candidates := await self._candidates(repository, subject, folded, last):
            last = str(candidates[-1])
            for start in range(0, len(candidates), _READ):
                for manifest in await self._read(repository, candidates[start : start + _READ]):
                    if not _refers(manifest, subject, folded=manifest.digest in folded):
                        continue
                    referrer = Referrer.of(manifest)
                    if artifact_type and referrer.artifact_type != artifact_type:
                        continue
                    weight += referrer.weight
                    if len(page) == wanted or (page and weight > MAX_PAGE_BYTES):
                        return ReferrersPage(tuple(page), more=True)
                    page.append(referrer)
        return ReferrersPage(tuple(page), more=False)

    async def _read(self, repository: Repository, digests: Sequence[Digest]) -> Sequence[StoredManifest]:
        """Those of the manifests that the repository has."""
        linked = await self._links.resolve(digests, repository.revision_link)

        async def read(digest: Digest) -> StoredManifest | None:
            return await self._stored.read(repository, digest, linked[digest])

        manifests = await for_each(read, [digest for digest in digests if digest in linked], limit=_READ)
        return [manifest for manifest in manifests if manifest is not None]

    async def _candidates(
        self, repository: Repository, subject: Digest, folded: Collection[Digest], last: str
    ) -> list[Digest]:
        """What may refer to the subject: some digests after `last`, in order; none when there are no more."""
        entries: list[Digest] = []
        complete = True
        for algorithm in sorted(SUPPORTED_ALGORITHMS):
            after = _after(algorithm, last)
            while complete and after is not None:
                folder = await self._objects.list_folder(
                    repository.referrers(subject, algorithm), after=after, limit=_LISTED, having=LINK
                )
                entries += _digests(algorithm, folder.names)
                complete = not (folder.truncated and entries)
                after = folder.names[-1] if folder.truncated else None
        among = [each for each in folded if str(each) > last]
        if not complete:
            # What comes after the last entry may not be handed out before the entries that come after it.
            among = [each for each in among if str(each) < str(entries[-1])]
        return sorted({*entries, *among}, key=str)

    async def _folded(self, repository: Repository, subject: Digest) -> frozenset[Digest]:
        """What the index under the fallback tag names."""
        (digest,) = await self._links.read([repository.tag_current(fallback_tag(subject))])
        index = None if digest is None else await self._stored.find(repository, digest)
        return frozenset() if index is None else frozenset(child for child, _descriptor in index.children)


def _refers(manifest: StoredManifest, subject: Digest, *, folded: bool) -> bool:
    if not manifest.media_type:
        return False
    if folded and manifest.subject is None:
        return True
    return manifest.subject == subject


def _after(algorithm: str, last: str) -> str | None:
    """The hex after which digests of an algorithm come after `last`; None when none of them does."""
    prefix = f"{algorithm}:"
    if last.startswith(prefix):
        return last.removeprefix(prefix)
    return "" if last < prefix else None


def _digests(algorithm: str, names: Sequence[str]) -> list[Digest]:
    digests = []
    for name in names:
        try:
            digests.append(Digest.parse(f"{algorithm}:{name}"))
        except InvalidDigestError:
            continue
    return digests
