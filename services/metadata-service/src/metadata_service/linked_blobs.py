"""A repository's blobs: those that it links. Whoever else links a blob, without the link it is unknown here.

Storage is asked for the bytes only after the link was found, so that neither the answer nor its time
tells whether another repository has the blob.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack

import structlog

from metadata_service.blobs import Blobs
from metadata_service.cache import RepositoryDescriptors, SeenBytes
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
        self._seen = SeenBytes()

    async def stat(self, repository: Repository, digest: Digest) -> BlobDescriptor:
        """The descriptor of a blob that the repository links; BLOB_UNKNOWN otherwise.

        Its digest is the canonical one.
        """
        ticket = self._descriptors.begin(repository.name)
        if self._descriptors.decides:
            descriptor = await self._descriptors.get(repository.name, digest)
            if descriptor is not None:
                return descriptor
            descriptor = await self._read(repository, digest)
        else:
            cached, canonical = await self._ask_both(repository, digest)
            if cached is not None and self._is_confirmed(cached, canonical):
                return cached
            try:
                descriptor = await self._describe(repository, digest, canonical)
            except RegistryError as error:
                if cached is not None and error.code is ErrorCode.BLOB_UNKNOWN:
                    await self._descriptors.forget(repository.name, _both(cached.digest, digest))
                raise
            if descriptor == cached:
                return descriptor
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
        await self._add(repository, canonical, aliases)

    async def mount(self, repository: Repository, source: Repository, digest: Digest) -> BlobDescriptor:
        """Link a blob of another repository; BLOB_UNKNOWN if that one does not link it."""
        self._policy.require(Verb.ADD)
        descriptor = await self._read(source, digest)
        return await self._add(repository, descriptor.digest, [digest])

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
        digests = _both(canonical, digest)

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

    async def remove_links(self, repository: Repository, links: Mapping[Digest, Digest]) -> None:
        """Remove links to blobs that go, whatever the configuration says of deletes.

        `links` has the canonical digest for each digest that is linked.
        """

        async def remove() -> None:
            async with AsyncExitStack() as stack:
                for canonical in sorted(set(links.values()), key=str):
                    key = blob_key(repository.name, canonical)
                    await stack.enter_async_context(self._changes.removing(key))
                async with self._descriptors.removing(repository.name, list(links)):
                    # The canonical ones first: they are the ones that revoke.
                    ordered = sorted(links, key=lambda digest: not digest.is_canonical)
                    await self._objects.delete([repository.layer_link(each) for each in ordered])

        await self._changes.run(remove, revoking=Revoked(repository.name, digests=tuple(map(str, links))))

    def forget_bytes(self, digests: Iterable[Digest]) -> None:
        """The bytes of these blobs are gone."""
        for digest in digests:
            self._seen.discard(digest)

    async def _ask_both(
        self, repository: Repository, digest: Digest
    ) -> tuple[BlobDescriptor | None, Digest | None]:
        """What the cache says and what the link says, asked at the same time."""
        asking = asyncio.create_task(self._descriptors.get(repository.name, digest))
        try:
            canonical = await self._link(repository, digest)
            return await asking, canonical
        finally:
            asking.cancel()

    def _is_confirmed(self, cached: BlobDescriptor, canonical: Digest | None) -> bool:
        """Whether the repository has what the cache says, and the bytes need not be looked for again."""
        return cached.digest == canonical and canonical in self._seen and self._descriptors.is_alone

    async def _read(self, repository: Repository, digest: Digest) -> BlobDescriptor:
        """What storage says: the link, then the bytes."""
        return await self._describe(repository, digest, await self._link(repository, digest))

    async def _link(self, repository: Repository, digest: Digest) -> Digest | None:
        """The canonical digest that the repository's link leads to; None when there is no link."""
        return (await self._links.resolve([digest], repository.layer_link)).get(digest)

    async def _describe(
        self, repository: Repository, digest: Digest, canonical: Digest | None
    ) -> BlobDescriptor:
        """The descriptor of the bytes that a link leads to; BLOB_UNKNOWN when either is missing."""
        if canonical is None:
            raise blob_unknown(digest)
        size = await self._size(canonical)
        if size is None:
            DAMAGE.labels(MISSING_BYTES).inc()
            log.warning(
                "a blob is linked but its bytes are missing", repository=repository.name, digest=str(digest)
            )
            raise blob_unknown(digest)
        return BlobDescriptor(canonical, size)

    async def _size(self, canonical: Digest) -> int | None:
        """How many bytes storage has of a blob; None when they are not there."""
        size = (await self._blobs.sizes([canonical])).get(canonical)
        if size is None:
            self._seen.discard(canonical)
        else:
            self._seen.add(canonical)
        return size

    async def _add(
        self, repository: Repository, canonical: Digest, aliases: Sequence[Digest]
    ) -> BlobDescriptor:
        """Link a blob whose bytes are there; BLOB_UNKNOWN if they are not."""
        ticket = self._descriptors.begin(repository.name)
        digests = list(dict.fromkeys([canonical, *aliases]))
        links = [(repository.layer_link(each), link_content(canonical)) for each in digests]

        async def add() -> int:
            async with self._changes.adding([blob_key(repository.name, canonical)]):
                return await self._objects.link(canonical, links)

        try:
            descriptor = BlobDescriptor(canonical, await self._changes.run(add))
        except RegistryError as error:
            if error.code is ErrorCode.BLOB_UNKNOWN:
                self._seen.discard(canonical)
            raise
        self._seen.add(canonical)
        for digest in digests:
            await self._descriptors.fill(ticket, digest, descriptor)
        return descriptor


def _both(canonical: Digest, asked: Digest) -> list[Digest]:
    """A blob's canonical digest and the one that was asked for, each once."""
    return list(dict.fromkeys([canonical, asked]))
