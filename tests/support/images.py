"""Images of random bytes: real gzip'd tar layers, configs, manifests and indexes, as clients know them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

ACCEPT_ALL = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@dataclass(frozen=True)
class Content:
    """Some bytes and the media type that a descriptor gives them."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.content)

    def descriptor(self, **extra: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **extra}


@dataclass(frozen=True)
class Image:
    config: Content
    layers: Sequence[Content]
    manifest: Content

    @property
    def blobs(self) -> list[Content]:
        return [self.config, *self.layers]


@dataclass(frozen=True)
class Index:
    children: Sequence[Image]
    manifest: Content


def layer_with_file(name: str, content: bytes) -> tuple[bytes, str]:
    """A gzip'd tar of one file, and the digest of the tar itself (its diff id)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o644
        tar.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=1, mtime=0), digest_of(raw.getvalue())


def make_image(
    seed: int, layer_sizes: Sequence[int] = (2000, 70_000), *, docker: bool = False, arch: str = "amd64"
) -> Image:
    """An image whose content depends on nothing but the arguments."""
    rng = random.Random(f"{seed}-{arch}")
    packed = [layer_with_file(f"file-{i}", rng.randbytes(size)) for i, size in enumerate(layer_sizes)]
    layers = [Content(DOCKER_LAYER if docker else OCI_LAYER, layer) for layer, _ in packed]
    config = Content(
        DOCKER_CONFIG if docker else OCI_CONFIG,
        json.dumps(
            {
                "architecture": arch,
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": {"Cmd": ["/file-0"], "Labels": {"seed": str(seed)}},
                "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in packed]},
                "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "test"} for _ in packed],
            }
        ).encode(),
    )
    return Image(config, layers, _manifest(config, layers, docker=docker))


def _manifest(config: Content, layers: Sequence[Content], *, docker: bool, **extra: Any) -> Content:
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    body = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
        **extra,
    }
    return Content(media_type, json.dumps(body, indent=2).encode())


def make_index(seed: int, arches: Sequence[str] = ("amd64", "arm64"), *, docker: bool = False) -> Index:
    """A multi-platform index and its images."""
    children = [make_image(seed, (1500, 9000), docker=docker, arch=arch) for arch in arches]
    media_type = DOCKER_LIST if docker else OCI_INDEX
    body = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [
            child.manifest.descriptor(platform={"architecture": arch, "os": "linux"})
            for child, arch in zip(children, arches, strict=True)
        ],
    }
    return Index(children, Content(media_type, json.dumps(body, indent=2).encode()))


def make_artifact(subject: Content, artifact_type: str, annotations: dict[str, str] | None = None) -> Image:
    """An artifact that refers to `subject` (OCI image specification 1.1, "Guidelines for artifact usage")."""
    config = Content(OCI_EMPTY, b"{}")
    layer = Content("application/vnd.example.data", f"{artifact_type} of {subject.digest}".encode())
    extra: dict[str, Any] = {"artifactType": artifact_type, "subject": subject.descriptor()}
    if annotations:
        extra["annotations"] = annotations
    return Image(config, [layer], _manifest(config, [layer], docker=False, **extra))


def write_oci_layout(folder: Path, tags: dict[str, Image | Index]) -> Path:
    """An OCI image layout on disk, which skopeo, podman and buildah read as `oci:FOLDER:TAG`."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entries = []
    for tag, item in tags.items():
        images = item.children if isinstance(item, Index) else [item]
        contents = [item.manifest] + [c for image in images for c in (image.manifest, *image.blobs)]
        for content in contents:
            (blobs / content.digest.removeprefix("sha256:")).write_bytes(content.content)
        entries.append(item.manifest.descriptor(annotations={"org.opencontainers.image.ref.name": tag}))
    (folder / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    )
    return folder
