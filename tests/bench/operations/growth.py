"""How the cost of an answer grows with the number of tags and repositories."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from bench import storage
from bench.clients import pages, wrk
from bench.clients.work import Work, WrongAnswerError
from bench.operations import Operation
from bench.registries import Registry
from support.images import ACCEPT_ALL, make_image

_PAGE = 100
_serial = itertools.count()
# Stands between an operation and the number of tags or repositories in its name.
AMONG = " among "
_IMAGE = make_image(11, (2000,))


def repository_name(number: int) -> str:
    """Repositories lie in folders of a thousand."""
    return f"team-{number // 1000:04d}/app-{number:06d}"


def tag_name(number: int) -> str:
    return f"v{number:06d}"


def plant(root: Path, count: int) -> None:
    """Make a storage tree with `count` repositories, of which the first has `count` tags.

    The others are empty: they have the folders by which registries know them, and no more.
    """
    image = [storage.write_blob(root, content.content) for content in (*_IMAGE.blobs, _IMAGE.manifest)]
    manifest = image[-1]
    first = storage.repository_folder(root, repository_name(0))
    (first / "_uploads").mkdir(parents=True)
    links = [storage.link_folder(first, digest, "_layers") for digest in image[:-1]]
    for digest, folder in zip(image, links, strict=False):
        storage.write_links([folder], digest, root / f"link-{digest[-8:]}")
    tags = first / "_manifests/tags"
    revision = storage.link_folder(first, manifest, "_manifests/revisions")
    storage.write_links(
        [revision, *(tags / tag_name(number) / "current" for number in range(count))], manifest, root / "link"
    )
    for number in range(1, count):
        folder = storage.repository_folder(root, repository_name(number))
        (folder / "_layers").mkdir(parents=True)
        (folder / "_manifests").mkdir()


@dataclass
class Listing:
    """A page of tags or repositories, or the whole list: one client, one request after the other.

    With `anew` each request begins behind another name, of which there is none: nobody can have the answer in
    memory.
    """

    name: str
    path: str
    key: str
    expected: list[str]
    # All names: the answer of a registry that knows no pages of tags, as docker-registry 2.8.2 does not.
    everything: list[str]
    seconds: float
    rounds: int
    anew: bool = False
    concurrency: int = 1
    group: str = "growth"
    _body: bytes = field(default=b"", repr=False)

    def prepare(self, registry: Registry) -> None:
        self._body = pages.get_once(registry.host_and_port, self.path)
        names = json.loads(self._body)[self.key]
        if sorted(names) != self.expected and sorted(names) != self.everything:
            raise WrongAnswerError(f"GET {self.path}: {len(names)} names, not the {len(self.expected)}")

    def work(self, registry: Registry) -> Work:
        return pages.get_again_and_again(
            registry.host_and_port, self._paths(), seconds=self.seconds, body=self._body
        )

    def _paths(self) -> Iterator[str]:
        while True:
            yield f"{self.path}?last=a{next(_serial)}" if self.anew else self.path

    def clean(self, registry: Registry) -> None:
        """Nothing is left."""


@dataclass(frozen=True)
class ManifestsByTag:
    """GET of manifests by all the tags in turn."""

    name: str
    count: int
    seconds: int
    rounds: int
    concurrency: int = 16
    group: str = "growth"

    def prepare(self, registry: Registry) -> None:
        """Nothing is missing."""

    def work(self, registry: Registry) -> Work:
        return wrk.get(
            f"{registry.url}/v2/{repository_name(0)}/manifests/v%06d",
            connections=self.concurrency,
            seconds=self.seconds,
            body_length=len(_IMAGE.manifest.content),
            headers={"Accept": ACCEPT_ALL},
            numbers=self.count,
        )

    def clean(self, registry: Registry) -> None:
        """Nothing is left."""


def growth_operations(count: int, *, rounds: int, seconds: float) -> list[Operation]:
    """What is asked of a tree that `plant` made. wrk counts whole seconds, and one at least."""
    tags = [tag_name(number) for number in range(count)]
    names = [repository_name(number) for number in range(count)]
    tag_list = f"/v2/{repository_name(0)}/tags/list"
    middle = count // 2
    end = max(0, count - _PAGE)

    def listing(
        what: str, path: str, key: str, start: int, *, paged: bool = True, anew: bool = False
    ) -> Listing:
        every = tags if key == "tags" else names
        query = {"n": str(_PAGE), **({"last": every[start - 1]} if start else {})} if paged else {}
        return Listing(
            f"{what}{AMONG}{count}",
            f"{path}?{urlencode(query)}" if query else path,
            key,
            every[start : start + _PAGE] if paged else every,
            every if key == "tags" else [],
            seconds,
            rounds,
            anew,
        )

    return [
        listing("tags, first page", tag_list, "tags", 0),
        listing("tags, page in the middle", tag_list, "tags", middle),
        listing("tags, whole list", tag_list, "tags", 0, paged=False),
        listing("tags, whole list anew", tag_list, "tags", 0, paged=False, anew=True),
        listing("catalog, first page", "/v2/_catalog", "repositories", 0),
        listing("catalog, last page", "/v2/_catalog", "repositories", end),
        ManifestsByTag(f"GET manifest by tag{AMONG}{count}", count, max(1, round(seconds)), rounds),
    ]
