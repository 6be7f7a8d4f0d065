"""Which manifest a client gets for what it accepts, as in distribution.

Clients that predate OCI do not list its types and fail on them, so an OCI manifest is served only to a
client that names its type: wildcards do not count. A Docker manifest list asked for by tag falls back to
its linux/amd64 child. A Docker image manifest is what every client of this API understands.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from metadata_service.manifests.mediatypes import DOCKER_LIST, OCI
from metadata_service.manifests.stored import StoredManifest
from moorage.digest import Digest

DEFAULT_OS = "linux"
DEFAULT_ARCHITECTURE = "amd64"


class Answer(Enum):
    """What to do with a manifest that was asked for."""

    SERVE = "serve"
    # Serve the child for the default platform instead.
    SERVE_DEFAULT_CHILD = "serve the default child"
    REFUSE = "refuse"


def negotiate(media_type: str, accept: Collection[str], *, by_tag: bool) -> Answer:
    """What a client gets that accepts the media types `accept` (without parameters)."""
    if media_type in accept:
        return Answer.SERVE
    if media_type in OCI:
        return Answer.REFUSE
    if media_type == DOCKER_LIST and by_tag:
        return Answer.SERVE_DEFAULT_CHILD
    return Answer.SERVE


def default_child(manifest_list: StoredManifest) -> Digest | None:
    """The list's first child for the default platform."""
    for digest, descriptor in manifest_list.children:
        platform = descriptor.get("platform")
        if (
            isinstance(platform, dict)
            and platform.get("os") == DEFAULT_OS
            and platform.get("architecture") == DEFAULT_ARCHITECTURE
        ):
            return digest
    return None
