"""What a well-formed manifest may be and refer to, by the configuration.

`policy.repository.classes` says which classes of manifests there may be. Unless `validation` is disabled,
every URL must be permitted and everything that the manifest refers to must be in the repository: a
configuration or a layer linked and its bytes there, an index's child a manifest of the repository. Two
exceptions come from distribution, where registry clients rely on them: an index may hold what is no
manifest (build caches do), which may be a linked blob, and `validation.manifests.indexes.platforms`
narrows down which children are asked for. A subject need not be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from metadata_service.blobs import Blobs
from metadata_service.layout import Repository
from metadata_service.links import Links
from metadata_service.manifests import mediatypes
from metadata_service.manifests.parse import Descriptor, Manifest, Platform
from moorage.config import Configuration
from moorage.digest import Digest
from moorage.errors import ErrorCode, ErrorEntry, RegistryError

# So many missing references are named in one answer.
MAX_REPORTED = 256

_CLASSES = {
    mediatypes.DOCKER_IMAGE_CONFIG: "image",
    mediatypes.DOCKER_PLUGIN_CONFIG: "plugin",
    mediatypes.OCI_IMAGE_CONFIG: "image",
}


class ManifestRules:
    """Checks manifests before they are stored."""

    def __init__(self, config: Configuration, links: Links, blobs: Blobs) -> None:
        self._links = links
        self._blobs = blobs
        self._classes = frozenset(config.policy.repository.classes)
        self._validates = config.validation.active
        self._urls = config.validation.manifests.urls
        indexes = config.validation.manifests.indexes
        self._checks_children = indexes.platforms != "none"
        # Empty for all platforms.
        self._platforms = frozenset(
            Platform(platform.architecture, platform.os)
            for platform in (indexes.platformlist if indexes.platforms == "list" else ())
        )

    async def check(self, repository: Repository, manifest: Manifest, granted_class: str) -> None:
        """Raise RegistryError if the manifest may not be stored.

        DENIED for its class, MANIFEST_INVALID for a URL, and a MANIFEST_BLOB_UNKNOWN for each missing
        reference.
        """
        self._check_class(manifest, granted_class)
        if self._validates:
            self._check_urls(manifest)
            await self._check_references(repository, manifest)

    def _check_class(self, manifest: Manifest, granted_class: str) -> None:
        if not self._classes or manifest.config is None:
            return
        name = _CLASSES.get(manifest.config.media_type)
        if name is None:
            raise _denied(f"unknown manifest class for {manifest.config.media_type[:120]}")
        if name not in self._classes:
            raise _denied(f"registry does not allow {name} manifest")
        if granted_class and granted_class != name:
            raise _denied(f"repository not authorized for {name} manifest")

    def _check_urls(self, manifest: Manifest) -> None:
        for descriptor in _references(manifest):
            if descriptor.media_type == mediatypes.DOCKER_FOREIGN_LAYER and not descriptor.urls:
                raise _bad_url(descriptor, "a foreign layer needs a URL")
            for url in descriptor.urls:
                if not _is_plain_http(url):
                    raise _bad_url(descriptor, "not a plain http or https URL", url)
                if not self._urls.permits(url):
                    raise _bad_url(descriptor, "the configuration does not permit the URL", url)

    async def _check_references(self, repository: Repository, manifest: Manifest) -> None:
        expected = list(self._expected(manifest))
        present = await self._present(
            repository,
            layers={each.digest for each in expected if _may_be_layer(manifest, each)},
            revisions={each.digest for each in expected if _may_be_revision(manifest, each)},
        )
        missing = list(dict.fromkeys(each.digest for each in expected if each.digest not in present))
        if missing:
            raise RegistryError.of(
                [
                    ErrorEntry(ErrorCode.MANIFEST_BLOB_UNKNOWN, {"digest": str(digest)})
                    for digest in missing[:MAX_REPORTED]
                ]
            )

    def _expected(self, manifest: Manifest) -> Iterator[Descriptor]:
        """What must be in the repository."""
        if manifest.config is not None:
            yield manifest.config
        for layer in manifest.layers:
            elsewhere = layer.media_type == mediatypes.DOCKER_FOREIGN_LAYER or (
                layer.media_type in mediatypes.OCI_NON_DISTRIBUTABLE_LAYERS and layer.urls
            )
            if not elsewhere:
                yield layer
        if self._checks_children:
            for child in manifest.manifests:
                if not self._platforms or child.platform in self._platforms:
                    yield child

    async def _present(
        self, repository: Repository, *, layers: set[Digest], revisions: set[Digest]
    ) -> set[Digest]:
        """Those that are linked, as the one or the other, and whose bytes are there."""
        linked: dict[Digest, Digest] = {}
        if layers:
            linked |= await self._links.resolve(layers, repository.layer_link)
        if revisions:
            linked |= await self._links.resolve(revisions, repository.revision_link)
        stored = await self._blobs.sizes(set(linked.values()))
        return {digest for digest, canonical in linked.items() if canonical in stored}


def _references(manifest: Manifest) -> Iterable[Descriptor]:
    config = () if manifest.config is None else (manifest.config,)
    return (*config, *manifest.layers, *manifest.manifests)


def _may_be_layer(manifest: Manifest, descriptor: Descriptor) -> bool:
    return not _is_index(manifest) or descriptor.media_type not in mediatypes.MANIFESTS


def _may_be_revision(manifest: Manifest, descriptor: Descriptor) -> bool:
    return _is_index(manifest) or descriptor.media_type in mediatypes.MANIFESTS


def _is_index(manifest: Manifest) -> bool:
    return manifest.media_type in mediatypes.INDEXES


def _is_plain_http(url: str) -> bool:
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url) or "#" in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _bad_url(descriptor: Descriptor, reason: str, url: str = "") -> RegistryError:
    detail = {"digest": str(descriptor.digest), "reason": reason}
    if url:
        detail["url"] = url[:200]
    return RegistryError(ErrorCode.MANIFEST_INVALID, detail)


def _denied(message: str) -> RegistryError:
    return RegistryError(ErrorCode.DENIED, message=message)
