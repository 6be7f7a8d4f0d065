"""A repository's blobs: those that it links. Whoever else links a blob, without the link it is unknown here.

Storage is asked for the bytes only after the link was found, so that neither the answer nor its time
tells whether another repository has the blob.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from metadata_service.blobs import Blobs
from metadata_service.cache import RepositoryDescriptors
from metadata_service.changes import Changes, blob_key
from metadata_service.descriptors import BlobDescriptor
from metadata_service.layout import Repository
from metadata_service.leases import Revoked
from metadata_service.links import Links, link_content
from metadata_service.metrics import DAMAGE, MISSING_BYTES
from metadata_service.objects import Objects
from metadata_service.policy import Policy, Verb
from metadata_service.refusals import blob_unknown
from moorage.digest import Digest
from moorage.errors import ErrorCode, RegistryError

log = structlog.get_logger("metadata_service.linked_blobs")


class LinkedBlobs:
    """Stat, link, mount and unlink. Every method raises RegistryError."""

    def __init__(
        self,
        *,
        objects: Objects,
        blobs: Blobs,
        links: Links,
        descriptors: RepositoryDescriptors,
        changes: Changes,
        policy: Policy,
    ) -> None:
        self._objects = objects
        self._blobs = blobs
        self._links = links
        self._descriptors = descriptors
        self._changes = changes
        self._policy = policy

    async def stat(self, repository: Repository, digest: Digest) -> BlobDescriptor:
        """The descriptor of a blob that the repository links; BLOB_UNKNOWN otherwise.

        Its digest is the canonical one.
        """
        cached = await self._descriptors.get(repository.name, digest)
        if cached is not None:
            return cached
        ticket = self._descriptors.begin(repository.name)
        descriptor = await self._read(repository, digest)
        await self._descriptors.fill(ticket, digest, descriptor)
        return descriptor

    async def link(self, repository: Repository, canonical: Digest, aliases: Sequence[Digest]) -> None:
        """Link a blob under its canonical digest, then under other digests of the same content.

        BLOB_UNKNOWN if the blob's bytes are not there.
        """
        self._policy.require(Verb.ADD)
        if not canonical.is_canonical:
            raise RegistryError(
                ErrorCode.DIGEST_INVALID,
                {"digest": str(canonical), "reason": "a blob is linked by its canonical digest"},
            )
        sizes = await self._blobs.sizes([canonical])
        if canonical not in sizes:
            raise blob_unknown(canonical)
        await self._add(repository, BlobDescriptor(canonical, sizes[canonical]), aliases)

    async def mount(self, repository: Repository, source: Repository, digest: Digest) -> BlobDescriptor:
        """Link a blob of another repository; BLOB_UNKNOWN if that one does not link it."""
        self._policy.require(Verb.ADD)
        descriptor = await self._read(source, digest)
        await self._add(repository, descriptor, [digest])
        return descriptor

    async def unlink(self, repository: Repository, digest: Digest) -> None:
        """Remove a blob's link; BLOB_UNKNOWN if there is none.

        Under an alias, both the alias and the canonical link go. Under the canonical digest that link
        goes, and with it every alias stops being readable.
        """
        self._policy.require(Verb.DELETE)
        canonical = (await self._links.targets([digest], repository.layer_link)).get(digest)
        if canonical is None:
            raise blob_unknown(digest)
        # The canonical link first: it is the one that revokes.
        digests = list(dict.fromkeys([canonical, digest]))

        async def remove() -> bool:
            async with (
                self._changes.removing(blob_key(repository.name, canonical)),
                self._descriptors.removing(repository.name, digests),
            ):
                links = [repository.layer_link(each) for each in digests]
                return links[0] in await self._objects.delete(links)

        # The canonical digest stands for other aliases as well: answers about them have it.
        revoking = Revoked(repository.name, digests=tuple(map(str, digests)))
        if not await self._changes.run(remove, revoking=revoking):
            raise blob_unknown(digest)

    async def _read(self, repository: Repository, digest: Digest) -> BlobDescriptor:
        """What storage says: the link, then the bytes."""
        canonical = (await self._links.resolve([digest], repository.layer_link)).get(digest)
        if canonical is None:
            raise blob_unknown(digest)
        sizes = await self._blobs.sizes([canonical])
        if canonical not in sizes:
            DAMAGE.labels(MISSING_BYTES).inc()
            log.warning(
                "a blob is linked but its bytes are missing", repository=repository.name, digest=str(digest)
            )
            raise blob_unknown(digest)
        return BlobDescriptor(canonical, sizes[canonical])

    async def _add(
        self, repository: Repository, descriptor: BlobDescriptor, aliases: Sequence[Digest]
    ) -> None:
        ticket = self._descriptors.begin(repository.name)
        canonical = descriptor.digest
        digests = list(dict.fromkeys([canonical, *aliases]))
        content = link_content(canonical)

        async def add() -> None:
            async with self._changes.adding([blob_key(repository.name, canonical)]):
                await self._objects.put([(repository.layer_link(each), content) for each in digests])

        await self._changes.run(add)
        for digest in digests:
            await self._descriptors.fill(ticket, digest, descriptor)
