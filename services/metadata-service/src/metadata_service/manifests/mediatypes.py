"""The media types of manifests, and of what they refer to."""

from __future__ import annotations

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

# What PUT accepts.
MANIFESTS = frozenset({DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX})
# Those that refer to manifests.
INDEXES = frozenset({DOCKER_LIST, OCI_INDEX})
# Those that may leave out their own media type, and may name a subject.
OCI = frozenset({OCI_MANIFEST, OCI_INDEX})

# Image manifest version 2, schema 1: gone from distribution 3.0, and not served here.
SCHEMA1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)

DOCKER_IMAGE_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_PLUGIN_CONFIG = "application/vnd.docker.plugin.v1+json"
OCI_IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"

# A layer that lies elsewhere: it has URLs, and its bytes are not expected here.
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
# A layer that may lie elsewhere: with URLs, its bytes need not be here.
OCI_NON_DISTRIBUTABLE_LAYERS = frozenset(
    {
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
