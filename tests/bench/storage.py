"""Where things lie in a storage tree (layout v2), for what the API does not offer: making and removing much."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path


def registry_folder(root: Path) -> Path:
    return root / "docker/registry/v2"


def blob_folder(root: Path, digest: str) -> Path:
    """The folder that holds a blob's `data`."""
    algorithm, _, encoded = digest.partition(":")
    return registry_folder(root) / "blobs" / algorithm / encoded[:2] / encoded


def repository_folder(root: Path, repository: str) -> Path:
    return registry_folder(root) / "repositories" / repository


def remove(root: Path, repository: str, digests: Iterable[str]) -> None:
    """Remove a repository and blobs that nobody will ask for again, and let the disk come to rest."""
    for digest in digests:
        shutil.rmtree(blob_folder(root, digest), ignore_errors=True)
    shutil.rmtree(repository_folder(root, repository), ignore_errors=True)
    os.sync()
