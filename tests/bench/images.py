"""Images that nobody has seen before, of layers of random bytes, as files that docker and skopeo read."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from support.images import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Content,
    Image,
    digest_of,
    write_oci_layout,
)


def _layer(name: str, size: int) -> bytes:
    """A tar of one file of `size` random bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o644
        tar.addfile(info, io.BytesIO(os.urandom(size)))
    return raw.getvalue()


def _config(diff_ids: list[str]) -> bytes:
    created = "2026-01-01T00:00:00Z"
    document: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Cmd": ["/layer-0"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": "bench"} for _ in diff_ids],
    }
    return json.dumps(document).encode()


def write_docker_archive(path: Path, name: str, layers: int, size: int) -> None:
    """An archive for `docker load` with an image of that name; in each layer is a file of `size` bytes."""
    with tarfile.open(path, "w") as archive:

        def add(member: str, content: bytes) -> None:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        diff_ids = []
        for number in range(layers):
            layer = _layer(f"layer-{number}", size)
            diff_ids.append(digest_of(layer))
            add(f"{number}/layer.tar", layer)
        config = _config(diff_ids)
        config_name = f"{digest_of(config).partition(':')[2]}.json"
        add(config_name, config)
        members = [f"{number}/layer.tar" for number in range(layers)]
        add(
            "manifest.json",
            json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": members}]).encode(),
        )


def write_oci_image(folder: Path, tag: str, layers: int, size: int) -> None:
    """An OCI image layout. Its layers are gzip without compression: random bytes do not get smaller."""
    tars = [_layer(f"layer-{number}", size) for number in range(layers)]
    contents = [Content(OCI_LAYER, gzip.compress(tar, compresslevel=0, mtime=0)) for tar in tars]
    config = Content(OCI_CONFIG, _config([digest_of(tar) for tar in tars]))
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [content.descriptor() for content in contents],
    }
    image = Image(config, contents, Content(OCI_MANIFEST, json.dumps(manifest).encode()))
    write_oci_layout(folder, {tag: image})
