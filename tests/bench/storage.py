"""Where things lie in a storage tree (layout v2): for making and removing much at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from support.images import digest_of

# ext4 allows 65 000.
_NAMES_OF_A_FILE = 50_000


def registry_folder(root: Path) -> Path:
    return root / "docker/registry/v2"


def blob_folder(root: Path, digest: str) -> Path:
    """The folder that holds a blob's `data`."""
    algorithm, _, encoded = digest.partition(":")
    return registry_folder(root) / "blobs" / algorithm / encoded[:2] / encoded


def repository_folder(root: Path, repository: str) -> Path:
    return registry_folder(root) / "repositories" / repository


def write_blob(root: Path, content: bytes) -> str:
    """Store a blob; its digest."""
    digest = digest_of(content)
    folder = blob_folder(root, digest)
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(content)
    return digest


def write_links(folders: Iterable[Path], digest: str, source: Path) -> None:
    """Write a `link` to a digest in each folder, which is made.

    The links are names of one file, `source` and a number: as many as a file may have, then of the next. A
    registry cannot tell, and it takes a third of the time.
    """
    linked: Path | None = None
    for number, folder in enumerate(folders):
        if linked is None or number % _NAMES_OF_A_FILE == 0:
            linked = source.with_name(f"{source.name}-{number}")
            linked.write_text(digest)
        folder.mkdir(parents=True)
        os.link(linked, folder / "link")


def link_folder(repository: Path, digest: str, kind: str) -> Path:
    """The folder of a link of a repository, of a `kind` such as "_layers" or "_manifests/revisions"."""
    algorithm, _, encoded = digest.partition(":")
    return repository / kind / algorithm / encoded


def remove(root: Path, repository: str, digests: Iterable[str]) -> None:
    """Remove a repository and blobs that nobody will ask for again, and let the disk come to rest."""
    for digest in digests:
        shutil.rmtree(blob_folder(root, digest), ignore_errors=True)
    shutil.rmtree(repository_folder(root, repository), ignore_errors=True)
    os.sync()
