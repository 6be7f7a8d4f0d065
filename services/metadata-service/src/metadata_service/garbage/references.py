"""What a stored manifest refers to, read generously: a reference too many keeps a blob, one less loses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from metadata_service.manifests.stored import StoredManifest
from moorage.digest import Digest, InvalidDigestError

# The lists of descriptors of every kind of manifest: images, indexes, and OCI's artifact manifests, which
# were withdrawn before 1.1.
_LISTS = ("layers", "manifests", "blobs")


@dataclass(frozen=True, slots=True)
class References:
    """What a manifest needs, under the digests that it uses; and what it is about, which it does not need."""

    needed: tuple[Digest, ...]
    subject: Digest | None


def references_of(manifest: StoredManifest) -> References:
    """What a manifest refers to, whatever its type."""
    needed = tuple(dict.fromkeys(_needed(manifest.document)))
    return References(needed, _digest(manifest.document.get("subject"), "digest"))


def _needed(document: Mapping[str, Any]) -> Iterator[Digest]:
    descriptors = [document.get("config")]
    for key in _LISTS:
        descriptors += _items(document, key)
    for descriptor in descriptors:
        if (digest := _digest(descriptor, "digest")) is not None:
            yield digest
    # Docker's schema 1, which is not served any more and may be stored still.
    for layer in _items(document, "fsLayers"):
        if (digest := _digest(layer, "blobSum")) is not None:
            yield digest


def _items(document: Mapping[str, Any], key: str) -> list[Any]:
    items = document.get(key)
    return items if isinstance(items, list) else []


def _digest(owner: Any, key: str) -> Digest | None:
    text = owner.get(key) if isinstance(owner, dict) else None
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except InvalidDigestError:
        return None
