"""Manifests of a repository: get, put, delete.

What a push writes, in this order: the bytes; the revision links; the entry among the subject's referrers;
each tag's index link and then its current link. The current link is the commit of a push by tag, the
revision link that of a push by digest. Wherever it is cut off, nothing can be read that is not whole, and
the same push again completes it.

What a delete by digest removes, in this order: the tags that name the manifest; the revision links, the
canonical one first, which is the commit; the entry among the referrers. As long as the revision is there
the delete can be repeated and goes on where it was cut off, and no tag is left that names what is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from metadata_service.blobs import Blobs
from metadata_service.changes import Changes, manifest_key, tag_key
from metadata_service.immutability import Immutability
from metadata_service.layout import Repository
from metadata_service.leases import Revoked
from metadata_service.links import Links, link_content
from metadata_service.manifests.document import InvalidDocumentError, beside_the_loop
from metadata_service.manifests.parse import Manifest, parse_manifest
from metadata_service.manifests.rules import ManifestRules
from metadata_service.manifests.stored import StoredManifest, StoredManifests
from metadata_service.negotiation import Answer, default_child, negotiate
from metadata_service.objects import Objects
from metadata_service.policy import Policy, Verb
from metadata_service.refusals import manifest_unknown, tag_exists, tags_stay
from metadata_service.tags import Tags
from moorage.digest import SUPPORTED_ALGORITHMS, Digest
from moorage.errors import ErrorCode, RegistryError

# Tags that one push may set.
MAX_TAGS = 100


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push left: the manifest, the digest under which it was pushed, and the tags that now name it."""

    digest: Digest
    manifest: Manifest
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """A manifest of a repository: its canonical digest, the others that lead to it, and its subject."""

    canonical: Digest
    aliases: tuple[Digest, ...]
    subject: Digest | None

    @property
    def digests(self) -> tuple[Digest, ...]:
        """All its digests; the canonical one, whose link is what makes it a manifest, comes first."""
        return (self.canonical, *self.aliases)

    def links(self, repository: Repository) -> list[str]:
        """The links that go with it, in the order in which they have to."""
        links = [repository.revision_link(each) for each in self.digests]
        if self.subject is not None:
            links += [repository.referrer_link(self.subject, each) for each in self.digests]
        return links


class Manifests:
    """The manifests. Every method raises RegistryError."""

    def __init__(
        self,
        *,
        objects: Objects,
        blobs: Blobs,
        links: Links,
        stored: StoredManifests,
        tags: Tags,
        rules: ManifestRules,
        changes: Changes,
        policy: Policy,
        immutability: Immutability,
        max_size: int,
    ) -> None:
        """`max_size` is the most bytes that a manifest may have."""
        self._objects = objects
        self._blobs = blobs
        self._links = links
        self._stored = stored
        self._tags = tags
        self._rules = rules
        self._changes = changes
        self._policy = policy
        self._immutability = immutability
        self._max_size = max_size

    async def get(
        self, repository: Repository, reference: Digest | str, accept: Collection[str]
    ) -> StoredManifest:
        """The manifest for a client that accepts these media types; MANIFEST_UNKNOWN if there is none."""
        by_tag = isinstance(reference, str)
        digest = await self._tags.get(repository, reference) if isinstance(reference, str) else reference
        manifest = await self._find(repository, digest, reference)
        answer = negotiate(manifest.media_type, accept, by_tag=by_tag)
        if answer is Answer.SERVE_DEFAULT_CHILD:
            child = default_child(manifest)
            if child is None:
                raise manifest_unknown(
                    repository,
                    reference,
                    "the manifest list, which the Accept header does not name, has no linux/amd64 image",
                )
            manifest = await self._find(repository, child, child)
            answer = negotiate(manifest.media_type, accept, by_tag=False)
        if answer is Answer.REFUSE:
            raise manifest_unknown(
                repository,
                reference,
                f"the manifest is of type {manifest.media_type}, which the Accept header does not name",
            )
        return manifest

    async def put(
        self,
        repository: Repository,
        reference: Digest | str,
        tags: Sequence[str],
        *,
        media_type: str,
        content: bytes,
        granted_class: str,
        create_only: bool = False,
    ) -> Pushed:
        """Check, store and tag a manifest. `tags` are further tags of a push by digest.

        With `create_only`, and for immutable tags in any case, a tag that names another manifest is not
        moved: then nothing is stored (DENIED). Of two pushes to such a tag, one wins.
        """
        self._policy.require(Verb.ADD)
        tags = _checked(reference, tags)
        if len(content) > self._max_size:
            raise RegistryError(
                ErrorCode.MANIFEST_INVALID,
                {"limit": self._max_size},
                message=f"the manifest is larger than {self._max_size} bytes",
                http_status=413,
            )
        try:
            manifest = await beside_the_loop(lambda text: parse_manifest(media_type, text), content)
        except InvalidDocumentError as error:
            raise RegistryError(ErrorCode.MANIFEST_INVALID, {"reason": str(error)}) from error
        canonical = await beside_the_loop(Digest.of, content)
        digest = reference if isinstance(reference, Digest) else canonical
        if not await beside_the_loop(digest.verifies, content):
            raise RegistryError(ErrorCode.DIGEST_INVALID, {"digest": str(digest), "content": str(canonical)})
        await self._rules.check(repository, manifest, granted_class)

        fixed = self._immutability.fixed(repository.name, tags)
        unmoved = list(tags) if create_only else fixed

        async def commit() -> None:
            keys = [
                manifest_key(repository.name, canonical),
                *(tag_key(repository.name, tag) for tag in tags),
            ]
            # Whoever may only create a tag decides alone whether it is there.
            alone = [tag_key(repository.name, tag) for tag in unmoved]
            async with self._changes.adding(keys, alone=alone):
                if unmoved:
                    await self._refuse_moves(repository, unmoved, digest, fixed)
                links = _links(repository, canonical, digest, manifest.subject, tags)
                await self._objects.link(canonical, links, content=content)

        # Without tags nothing that is kept becomes wrong: gateways keep no answer of "unknown".
        revoking = Revoked(repository.name, tuple(tags)) if tags else None
        await self._changes.run(commit, revoking=revoking)
        return Pushed(digest, manifest, tuple(tags))

    async def delete(self, repository: Repository, digest: Digest) -> list[str]:
        """Delete a manifest and the tags that name it; returns the tags. Raises MANIFEST_UNKNOWN."""
        self._policy.require(Verb.DELETE)
        canonical = (await self._links.targets([digest], repository.revision_link)).get(digest)
        if canonical is None:
            raise manifest_unknown(repository, digest)

        async def delete() -> list[str] | None:
            async with self._changes.removing(manifest_key(repository.name, canonical)):
                return await self._delete(repository, digest, canonical)

        # All of the repository: which tags lead to the manifest is found out only while it goes.
        tags = await self._changes.run(delete, revoking=Revoked(repository.name))
        if tags is None:
            raise manifest_unknown(repository, digest)
        return tags

    async def delete_tag(self, repository: Repository, tag: str) -> None:
        """Remove a tag and nothing else; MANIFEST_UNKNOWN if there is none."""
        self._policy.require(Verb.DELETE)
        if self._immutability.kept(repository.name, [tag]):
            await self._tags.get(repository, tag)
            raise tags_stay(repository, [tag])
        revoking = Revoked(repository.name, (tag,))
        if not await self._changes.run(lambda: self._tags.remove(repository, tag), revoking=revoking):
            raise manifest_unknown(repository, tag)

    async def remove(self, repository: Repository, revisions: Sequence[Revision]) -> None:
        """Remove manifests that no tag names, whatever the configuration says of deletes."""

        async def remove() -> None:
            async with AsyncExitStack() as stack:
                for revision in sorted(revisions, key=lambda each: str(each.canonical)):
                    key = manifest_key(repository.name, revision.canonical)
                    await stack.enter_async_context(self._changes.removing(key))
                await self._objects.delete([link for each in revisions for link in each.links(repository)])

        digests = tuple(str(digest) for revision in revisions for digest in revision.digests)
        await self._changes.run(remove, revoking=Revoked(repository.name, digests=digests))

    async def _refuse_moves(
        self, repository: Repository, tags: Sequence[str], digest: Digest, fixed: Collection[str]
    ) -> None:
        """Raise DENIED when one of the tags is there and names something else."""
        for tag, named in (await self._tags.present(repository, tags)).items():
            if named != digest:
                raise tag_exists(repository, tag, immutable=tag in fixed)

    async def _refuse_removal(self, repository: Repository, digests: Collection[Digest]) -> None:
        """Raise DENIED when a tag that must stay names one of the digests. The manifest's key is held."""
        if self._immutability.keeps_some(repository.name):
            naming = await self._tags.naming(repository, digests)
            kept = self._immutability.kept(repository.name, naming)
            if kept:
                raise tags_stay(repository, kept)

    async def _find(self, repository: Repository, digest: Digest, reference: Digest | str) -> StoredManifest:
        manifest = await self._stored.find(repository, digest)
        if manifest is None:
            raise manifest_unknown(repository, reference)
        if not manifest.media_type:
            raise manifest_unknown(
                repository, reference, "the manifest is of a type that this registry does not serve"
            )
        return manifest

    async def _delete(self, repository: Repository, digest: Digest, canonical: Digest) -> list[str] | None:
        """The tags that were removed; None if the manifest itself was not there any more."""
        manifest = await self._stored.read(repository, canonical, canonical)
        digests = {canonical, digest}
        if manifest is not None:
            # Whatever other digests it was pushed under.
            digests |= {Digest.of(manifest.content, algorithm) for algorithm in SUPPORTED_ALGORITHMS}
        await self._refuse_removal(repository, digests)
        tags = await self._tags.remove_naming(repository, digests)
        aliases = tuple(sorted(digests - {canonical}, key=str))
        links = Revision(canonical, aliases, None if manifest is None else manifest.subject).links(repository)
        return tags if links[0] in await self._objects.delete(links) else None


def _checked(reference: Digest | str, tags: Sequence[str]) -> list[str]:
    """The tags that a push sets, each once; raises TAG_INVALID."""
    if not isinstance(reference, Digest):
        if tags:
            raise RegistryError(
                ErrorCode.TAG_INVALID, message="further tags go with a push by digest, not by tag"
            )
        return [reference]
    if len(tags) > MAX_TAGS:
        raise RegistryError(ErrorCode.TAG_INVALID, {"limit": MAX_TAGS}, message=f"more than {MAX_TAGS} tags")
    return list(dict.fromkeys(tags))


def _links(
    repository: Repository, canonical: Digest, digest: Digest, subject: Digest | None, tags: Sequence[str]
) -> list[tuple[str, bytes]]:
    """What a push writes after the bytes, in the order in which it has to be there."""
    links = [(repository.revision_link(each), link_content(canonical)) for each in (canonical, digest)]
    if subject is not None:
        links.append((repository.referrer_link(subject, digest), link_content(digest)))
    for tag in tags:
        links.append((repository.tag_index(tag, digest), link_content(digest)))
        links.append((repository.tag_current(tag), link_content(digest)))
    return list(dict.fromkeys(links))
