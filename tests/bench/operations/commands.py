"""Whole commands, as people and pipelines run them: `docker push`, `docker pull`, `skopeo copy`."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import storage
from bench.clients.work import Work, WrongAnswerError
from bench.images import write_docker_archive, write_oci_image
from bench.operations import Operation
from bench.registries import Registry
from support.client import V2Client
from support.engine import DockerEngine, skopeo_copy

_PULLED = "bench/pulled-image"
_TAG = "latest"
_TIMEOUT = 600
_serial = itertools.count()


@dataclass(frozen=True)
class Layers:
    """An image's layers: how many, and the bytes of each."""

    count: int
    size: int

    @property
    def bytes(self) -> int:
        return self.count * self.size


class Workshop:
    """What the commands need: a folder, a Docker Engine once it is asked for, and images to pull."""

    def __init__(self, folder: Path, layers: Layers) -> None:
        self.folder = folder
        self.layers = layers
        self._engine: DockerEngine | None = None
        self._pushed: set[str] = set()
        folder.mkdir(parents=True)

    @property
    def engine(self) -> DockerEngine:
        if self._engine is None:
            self._engine = DockerEngine(self.folder / "engine")
        return self._engine

    def new_layout(self) -> Path:
        """An OCI layout with an image that no registry has."""
        layout = self.folder / f"layout-{next(_serial)}"
        write_oci_image(layout, _TAG, self.layers.count, self.layers.size)
        return layout

    def image_to_pull(self, registry: Registry) -> str:
        """An image in the registry, pushed when it is first asked for; HOST:PORT/NAME:TAG."""
        name = f"{registry.address}/{_PULLED}:{_TAG}"
        if name not in self._pushed:
            layout = self.new_layout()
            skopeo_copy(f"oci:{layout}:{_TAG}", f"docker://{name}")
            shutil.rmtree(layout)
            self._pushed.add(name)
        return name

    def close(self) -> None:
        if self._engine is not None:
            self._engine.stop()


def _timed(command: Callable[[], str | None], size: int) -> tuple[Work, str]:
    started = time.perf_counter()
    output = command()
    return Work(1, size, time.perf_counter() - started), output or ""


def _remove_image(registry: Registry, repository: str) -> None:
    """Take an image out of the storage tree, with its blobs."""
    with V2Client(registry.url) as client:
        answer = client.get_manifest(repository, _TAG)
    if answer.status_code == 200:
        document = answer.json()
        descriptors = [document["config"], *document["layers"]]
        digests = [answer.headers["docker-content-digest"], *(entry["digest"] for entry in descriptors)]
        storage.remove(registry.root, repository, digests)


@dataclass
class DockerPush:
    """`docker push` of a new image. docker compresses the layers while it pushes them."""

    workshop: Workshop
    rounds: int
    name: str = "docker push"
    concurrency: int = 1
    group: str = "commands"
    _repository: str = ""

    def prepare(self, registry: Registry) -> None:
        self._repository = f"bench/docker-{next(_serial)}"
        archive = self.workshop.folder / "image.tar"
        layers = self.workshop.layers
        write_docker_archive(archive, self._image(registry), layers.count, layers.size)
        self.workshop.engine("load", "-i", archive, timeout=_TIMEOUT)
        archive.unlink()

    def work(self, registry: Registry) -> Work:
        work, output = _timed(
            lambda: self.workshop.engine("push", self._image(registry), timeout=_TIMEOUT),
            self.workshop.layers.bytes,
        )
        if output.count(": Pushed") != self.workshop.layers.count or "digest: sha256:" not in output:
            raise WrongAnswerError(f"docker push: {output}")
        return work

    def clean(self, registry: Registry) -> None:
        self.workshop.engine("rmi", "-f", self._image(registry))
        _remove_image(registry, self._repository)

    def _image(self, registry: Registry) -> str:
        return f"{registry.address}/{self._repository}:{_TAG}"


@dataclass
class DockerPull:
    """`docker pull` of an image that the engine does not have. docker checks and unpacks it."""

    workshop: Workshop
    rounds: int
    name: str = "docker pull"
    concurrency: int = 1
    group: str = "commands"

    def prepare(self, registry: Registry) -> None:
        self.workshop.image_to_pull(registry)
        self.workshop.engine("info")

    def work(self, registry: Registry) -> Work:
        image = self.workshop.image_to_pull(registry)
        work, output = _timed(
            lambda: self.workshop.engine("pull", image, timeout=_TIMEOUT), self.workshop.layers.bytes
        )
        if output.count(": Pull complete") != self.workshop.layers.count:
            raise WrongAnswerError(f"docker pull: {output}")
        return work

    def clean(self, registry: Registry) -> None:
        self.workshop.engine("rmi", "-f", self.workshop.image_to_pull(registry))


@dataclass
class SkopeoPush:
    """`skopeo copy` of a new image into the registry."""

    workshop: Workshop
    rounds: int
    name: str = "skopeo copy, push"
    concurrency: int = 1
    group: str = "commands"
    _repository: str = ""
    _layout: Path = Path()

    def prepare(self, registry: Registry) -> None:
        self._repository = f"bench/skopeo-{next(_serial)}"
        self._layout = self.workshop.new_layout()

    def work(self, registry: Registry) -> Work:
        image = f"docker://{registry.address}/{self._repository}:{_TAG}"
        return _timed(lambda: skopeo_copy(f"oci:{self._layout}:{_TAG}", image), self.workshop.layers.bytes)[0]

    def clean(self, registry: Registry) -> None:
        shutil.rmtree(self._layout)
        _remove_image(registry, self._repository)


@dataclass
class SkopeoPull:
    """`skopeo copy` of an image from the registry into a folder. skopeo checks it."""

    workshop: Workshop
    rounds: int
    name: str = "skopeo copy, pull"
    concurrency: int = 1
    group: str = "commands"

    @property
    def _target(self) -> Path:
        return self.workshop.folder / "copy"

    def prepare(self, registry: Registry) -> None:
        self.workshop.image_to_pull(registry)

    def work(self, registry: Registry) -> Work:
        image = self.workshop.image_to_pull(registry)
        return _timed(
            lambda: skopeo_copy(f"docker://{image}", f"dir:{self._target}"), self.workshop.layers.bytes
        )[0]

    def clean(self, registry: Registry) -> None:
        shutil.rmtree(self._target, ignore_errors=True)


def command_operations(workshop: Workshop, *, rounds: int) -> list[Operation]:
    return [
        DockerPush(workshop, rounds),
        DockerPull(workshop, rounds),
        SkopeoPush(workshop, rounds),
        SkopeoPull(workshop, rounds),
    ]
