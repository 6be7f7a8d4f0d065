"""Manifests that are stored already, by this registry or another one.

They are read with less rigour than a push: what was accepted once is served, under the type that it was
stored as.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from metadata_service.blobs import Blobs
from metadata_service.layout import Repository
from metadata_service.links import Links
from metadata_service.manifests.document import beside_the_loop
from metadata_service.manifests.mediatypes import INDEXES, MANIFESTS, OCI, OCI_INDEX, OCI_MANIFEST
from metadata_service.metrics import DAMAGE, MISSING_BYTES, WRONG_DIGEST
from moorage.digest import Digest, InvalidDigestError
from moorage.v1 import common_pb2

# The largest manifest that can be read or, whatever `http.limits.manifestsize` says, be pushed: what the
# blob service hands out whole.
MAX_MANIFEST_BYTES = 8 * 1024 * 1024

log = structlog.get_logger("metadata_service.manifests")


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest that a repository links, its content verified."""

    # The digest that it was asked for by.
    digest: Digest
    canonical: Digest
    # One of mediatypes.MANIFESTS; empty for what no present version of the registry serves.
    media_type: str
    content: bytes
    document: Mapping[str, Any]

    @property
    def subject(self) -> Digest | None:
        """The manifest that this one refers to, if it says so."""
        subject = self.document.get("subject") if self.media_type in OCI else None
        return _digest(subject)

    @property
    def children(self) -> list[tuple[Digest, Mapping[str, Any]]]:
        """An index's children: their digests and descriptors. Malformed ones are left out."""
        children = self.document.get("manifests") if self.media_type in INDEXES else None
        if not isinstance(children, list):
            return []
        digests = [(_digest(child), child) for child in children]
        return [(digest, child) for digest, child in digests if digest is not None]

    @property
    def artifact_type(self) -> str:
        """The manifest's own artifact type, else that of its configuration; empty for none.

        Source: OCI distribution specification 1.1, "Listing Referrers".
        """
        config = self.document.get("config")
        of_config = config.get("mediaType") if isinstance(config, dict) else None
        return _text(self.document.get("artifactType")) or _text(of_config)

    @property
    def annotations(self) -> dict[str, str]:
        """The manifest's annotations."""
        annotations = self.document.get("annotations")
        if not isinstance(annotations, dict):
            return {}
        return {_text(key): _text(value) for key, value in annotations.items() if isinstance(value, str)}

    def descriptor(self) -> common_pb2.Descriptor:
        """The manifest's descriptor, under the digest that it was asked for by."""
        return common_pb2.Descriptor(
            media_type=self.media_type, digest=str(self.digest), size=len(self.content)
        )


class StoredManifests:
    """Reads manifests. Every method raises RegistryError when the storage fails."""

    def __init__(self, links: Links, blobs: Blobs) -> None:
        self._links = links
        self._blobs = blobs

    async def find(self, repository: Repository, digest: Digest) -> StoredManifest | None:
        """The repository's manifest of this digest; None if it has none that can be served."""
        canonical = (await self._links.resolve([digest], repository.revision_link)).get(digest)
        return None if canonical is None else await self.read(repository, digest, canonical)

    async def read(self, repository: Repository, digest: Digest, canonical: Digest) -> StoredManifest | None:
        """The manifest behind a link that was resolved; None if its bytes are missing or wrong."""
        content = await self._blobs.get(canonical, max_size=MAX_MANIFEST_BYTES)
        about = {"repository": repository.name, "digest": str(digest)}
        if content is None:
            DAMAGE.labels(MISSING_BYTES).inc()
            log.error("a manifest is linked but its bytes are missing, damaged or too many", **about)
            return None
        for each in {canonical, digest}:
            if not await beside_the_loop(each.verifies, content):
                DAMAGE.labels(WRONG_DIGEST).inc()
                log.error("a stored manifest does not match its digest", **about)
                return None
        document = await beside_the_loop(_decode, content)
        return StoredManifest(digest, canonical, _media_type(document), content, document)


def _decode(content: bytes) -> dict[str, Any]:
    """The manifest's JSON object; empty if it is none."""
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _media_type(document: Mapping[str, Any]) -> str:
    """The type of a stored manifest: what it says, or what its fields say when it leaves that out."""
    if document.get("schemaVersion") != 2:
        return ""
    own = document.get("mediaType")
    if own:
        return own if isinstance(own, str) and own in MANIFESTS else ""
    return OCI_INDEX if document.get("manifests") is not None else OCI_MANIFEST


def _digest(descriptor: Any) -> Digest | None:
    text = descriptor.get("digest") if isinstance(descriptor, dict) else None
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except InvalidDigestError:
        return None


def _text(value: Any) -> str:
    """A string that UTF-8 can hold: JSON can escape half of a surrogate pair, which becomes "?"."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""
