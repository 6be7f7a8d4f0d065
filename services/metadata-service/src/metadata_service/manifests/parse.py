"""What makes a manifest well-formed.

Source: OCI image specification 1.1, "Image Manifest", "Image Index", "Content Descriptors"; Docker's
image manifest version 2, schema 2. Fields that these do not know are kept, because the content is stored
byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metadata_service.manifests.document import InvalidDocumentError, parse_document, refuse_misspelt
from metadata_service.manifests.mediatypes import INDEXES, MANIFESTS, OCI, SCHEMA1
from moorage.digest import Digest, InvalidDigestError

_MANIFEST_KEYS = frozenset(
    {"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"}
)
_DESCRIPTOR_KEYS = frozenset(
    {"mediaType", "digest", "size", "urls", "annotations", "platform", "artifactType", "data"}
)
_PLATFORM_KEYS = frozenset({"architecture", "os"})

_MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Platform:
    """What an index's child runs on; empty for what it does not say."""

    architecture: str
    os: str


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest refers to. `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A well-formed manifest: an image's (`config`, `layers`) or an index (`manifests`)."""

    media_type: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Digest | None


def parse_manifest(media_type: str, content: bytes) -> Manifest:
    """The manifest in `content`, read as `media_type`; raises InvalidDocumentError.

    For any content at most one media type succeeds.
    """
    if media_type in SCHEMA1:
        raise InvalidDocumentError("manifests of schema version 1 are not supported")
    if media_type not in MANIFESTS:
        raise InvalidDocumentError(
            f"the Content-Type {media_type[:120]!r} is not a manifest's"
            if media_type
            else "no Content-Type was given"
        )
    document = parse_document(content)
    refuse_misspelt(document, _MANIFEST_KEYS)
    _require_version(document)
    _require_media_type(document, media_type)
    _annotations(document, "annotations")
    _text(document, "artifactType", "artifactType")
    subject = _subject(document) if media_type in OCI else None
    if media_type in INDEXES:
        _refuse_keys(document, ("config", "layers"), "an index")
        if "manifests" not in document:
            raise InvalidDocumentError("manifests: missing")
        return Manifest(media_type, None, (), _descriptors(document, "manifests"), subject)
    _refuse_keys(document, ("manifests",), "an image manifest")
    config = _descriptor(document.get("config"), "config")
    return Manifest(media_type, config, _descriptors(document, "layers"), (), subject)


def _require_version(document: Mapping[str, Any]) -> None:
    version = document.get("schemaVersion")
    if type(version) is not int or version != 2:
        raise InvalidDocumentError("schemaVersion: must be 2")


def _require_media_type(document: Mapping[str, Any], media_type: str) -> None:
    own = _text(document, "mediaType", "mediaType")
    if not own and media_type in OCI:
        return
    if own != media_type:
        raise InvalidDocumentError(f"mediaType: {own[:120]!r} does not match the Content-Type {media_type!r}")


def _refuse_keys(document: Mapping[str, Any], keys: tuple[str, ...], kind: str) -> None:
    # CVE-2021-41190: such a document could be read as either kind.
    for key in keys:
        if key in document:
            raise InvalidDocumentError(f"{key}: not allowed in {kind}")


def _subject(document: Mapping[str, Any]) -> Digest | None:
    subject = document.get("subject")
    return None if subject is None else _descriptor(subject, "subject").digest


def _descriptors(document: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    # Go writes a list that was never filled as null, or leaves it out.
    values = document.get(key)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise InvalidDocumentError(f"{key}: not a list")
    return tuple(_descriptor(value, f"{key}[{index}]") for index, value in enumerate(values))


def _descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidDocumentError(f"{where}: " + ("missing" if value is None else "not a descriptor"))
    refuse_misspelt(value, _DESCRIPTOR_KEYS)
    media_type = _text(value, "mediaType", f"{where}.mediaType")
    if not media_type:
        raise InvalidDocumentError(f"{where}.mediaType: missing")
    _text(value, "artifactType", f"{where}.artifactType")
    _annotations(value, f"{where}.annotations")
    return Descriptor(
        media_type,
        _digest(value, f"{where}.digest"),
        _size(value, f"{where}.size"),
        _urls(value, f"{where}.urls"),
        _platform(value, f"{where}.platform"),
    )


def _digest(descriptor: Mapping[str, Any], where: str) -> Digest:
    try:
        return Digest.parse(_text(descriptor, "digest", where))
    except InvalidDigestError as error:
        raise InvalidDocumentError(f"{where}: {error}") from error


def _size(descriptor: Mapping[str, Any], where: str) -> int:
    size = descriptor.get("size")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise InvalidDocumentError(f"{where}: not a number of bytes")
    return size


def _urls(descriptor: Mapping[str, Any], where: str) -> tuple[str, ...]:
    urls = descriptor.get("urls")
    if urls is None:
        return ()
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise InvalidDocumentError(f"{where}: not a list of strings")
    return tuple(urls)


def _platform(descriptor: Mapping[str, Any], where: str) -> Platform | None:
    platform = descriptor.get("platform")
    if platform is None:
        return None
    if not isinstance(platform, dict):
        raise InvalidDocumentError(f"{where}: not an object")
    refuse_misspelt(platform, _PLATFORM_KEYS)
    return Platform(
        _text(platform, "architecture", f"{where}.architecture"), _text(platform, "os", f"{where}.os")
    )


def _annotations(owner: Mapping[str, Any], where: str) -> None:
    annotations = owner.get("annotations")
    if annotations is None:
        return
    if not isinstance(annotations, dict):
        raise InvalidDocumentError(f"{where}: not an object")
    for key, value in annotations.items():
        if not isinstance(value, str) or not _is_unicode(key) or not _is_unicode(value):
            raise InvalidDocumentError(f"{where}: not a map of strings to strings")


def _text(owner: Mapping[str, Any], key: str, where: str) -> str:
    """The string at a key; empty when there is none."""
    value = owner.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or not _is_unicode(value):
        raise InvalidDocumentError(f"{where}: not a string")
    return value


def _is_unicode(text: str) -> bool:
    """Whether the text has no half of a surrogate pair, which JSON can escape and UTF-8 cannot hold."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
