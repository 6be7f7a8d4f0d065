"""Pushes of small images by many clients: what a registry does besides moving bytes."""

from __future__ import annotations

import itertools
import random
import socket
from dataclasses import dataclass, field
from functools import partial

from bench import storage
from bench.clients import transfer
from bench.clients.connection import Connection
from bench.clients.work import Work, WrongAnswerError, percentiles
from bench.content import framed
from bench.registries import Registry
from support.images import Content, Image, make_image

_serial = itertools.count()


@dataclass(frozen=True)
class _Job:
    repository: str
    tag: str
    image: Image


def push_image(connection: Connection, repository: str, tag: str, image: Image) -> None:
    """What docker does: HEAD each blob, push it, then PUT the manifest."""
    for blob in image.blobs:
        connection.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}", expect=404)
        transfer.push_content(
            connection,
            repository,
            blob.digest,
            partial(_send_chunked, blob.content),
        )
    _put_manifest(connection, f"/v2/{repository}/manifests/{tag}", image.manifest)


def _send_chunked(content: bytes, connection: socket.socket) -> None:
    connection.sendall(framed(content) + b"0\r\n\r\n")


def _put_manifest(connection: Connection, path: str, manifest: Content) -> None:
    answer = connection.request(
        "PUT", path, expect=201, headers={"Content-Type": manifest.media_type}, body=manifest.content
    )
    if answer.headers.get("docker-content-digest") != manifest.digest:
        raise WrongAnswerError(f"PUT {path}: {answer.headers}, not {manifest.digest}")


@dataclass
class PushImages:
    """New images of a config and one layer of 2 KiB, by each client into a repository of its own."""

    concurrency: int
    times: int
    rounds: int
    name: str = "push of a small image"
    group: str = "images"
    _jobs: list[_Job] = field(default_factory=list)

    def prepare(self, registry: Registry) -> None:
        serial = next(_serial)
        seeds = random.Random(serial)
        self._jobs = [
            _Job(
                f"bench/images-{serial}/client-{number % self.concurrency}",
                f"v{number}",
                make_image(seeds.getrandbits(62), (2000,), docker=True),
            )
            for number in range(self.times)
        ]

    def work(self, registry: Registry) -> Work:
        seconds, taken = transfer.at_once(
            registry.host_and_port,
            self._jobs,
            self.concurrency,
            lambda connection, job: push_image(connection, job.repository, job.tag, job.image),
        )
        size = sum(len(blob.content) for job in self._jobs for blob in job.image.blobs)
        return Work(len(self._jobs), size, seconds, percentiles(taken))

    def clean(self, registry: Registry) -> None:
        digests = [content.digest for job in self._jobs for content in (*job.image.blobs, job.image.manifest)]
        repository = self._jobs[0].repository.rpartition("/")[0]
        storage.remove(registry.root, repository, digests)
