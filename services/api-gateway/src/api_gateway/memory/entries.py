"""What is kept: each entry with the header fields of its answers, so that a hit builds nothing again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from api_gateway.conditional import entity_tag
from api_gateway.headers import field

ManifestKey = tuple[str, str, str]
"""Repository, reference (a tag, or the digest that the client asks by), accepted media types."""

BlobKey = tuple[str, str]
"""Repository, the digest that the client asks by."""


class TagListKey(NamedTuple):
    """Which tags of a repository: those after `last`, at most `limit` (None: all)."""

    repository: str
    last: str
    limit: int | None


LeasedKey = ManifestKey | BlobKey | TagListKey
"""Of what is held under a lease; the repository comes first."""

Fields = tuple[tuple[bytes, bytes], ...]

_OCTETS = (b"content-type", b"application/octet-stream")
_RANGES = (b"accept-ranges", b"bytes")

# Content under a digest never changes.
_CACHE_CONTROL = (b"cache-control", b"max-age=31536000")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as the clients of one reference get it."""

    digest: str
    """The one that the client asks by, or that the tag names."""

    media_type: str
    content: bytes
    validators: Fields
    """The fields of a 304."""

    fields: Fields
    """The fields of a 200, without Content-Length."""

    @classmethod
    def of(cls, digest: str, media_type: str, content: bytes) -> Manifest:
        """A manifest with the fields of its answers."""
        validators = (field(b"docker-content-digest", digest), field(b"etag", entity_tag(digest)))
        fields = (*validators, field(b"content-type", media_type))
        return cls(digest, media_type, content, validators, fields)

    @property
    def weight(self) -> int:
        """Bytes that grow with the content."""
        return len(self.content)


@dataclass(frozen=True, slots=True)
class LinkedBlob:
    """A blob that a repository links."""

    digest: str
    """The canonical one, under which the blob is stored."""

    size: int
    """Bytes of the blob."""

    digests: frozenset[str]
    """The canonical one and the one that the client asks by."""

    validators: Fields
    """The fields of a 304."""

    common: Fields
    """The fields of every answer with a body or a part of it, without Content-Type and Content-Length."""

    fields: Fields
    """The fields of a 200, without Content-Length."""

    @classmethod
    def of(cls, asked: str, digest: str, size: int) -> LinkedBlob:
        """A blob with the fields of its answers, which name the digest that the client asks by."""
        validators = (
            field(b"docker-content-digest", asked),
            field(b"etag", entity_tag(asked)),
            _CACHE_CONTROL,
        )
        common = (*validators, _RANGES)
        return cls(digest, size, frozenset((asked, digest)), validators, common, (*common, _OCTETS))

    @property
    def weight(self) -> int:
        """Bytes that grow with the content: none, for it is kept elsewhere."""
        return 0


@dataclass(frozen=True, slots=True)
class TagList:
    """Tags of a repository, as clients get them."""

    body: bytes
    """The JSON document."""

    last: str
    """The last of the tags; "" when there is none."""

    more: bool
    """Whether there are tags after the last one."""

    @classmethod
    def of(cls, repository: str, tags: Sequence[str], more: bool) -> TagList:
        """A list with the document that says it."""
        body = json.dumps({"name": repository, "tags": list(tags)}, separators=(",", ":")).encode()
        return cls(body, tags[-1] if tags else "", more)

    @property
    def weight(self) -> int:
        """Bytes that grow with the content."""
        return len(self.body) + len(self.last)
