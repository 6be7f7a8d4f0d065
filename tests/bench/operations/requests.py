"""Small requests: how many in a second, and what one costs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from bench.clients import head, wrk
from bench.clients.work import Work, WrongAnswerError
from bench.registries import Registry
from support.client import V2Client
from support.images import ACCEPT_ALL, digest_of, make_image

_REPOSITORY = "bench/image"
_TAG = "latest"
_SMALL_BLOB = random.Random(2048).randbytes(2048)
# As many layers as a common application image.
_IMAGE = make_image(7, (2000,) * 7)
_ACCEPT = {"Accept": ACCEPT_ALL}


@dataclass(frozen=True)
class Requests:
    """One request, over and over, by each connection."""

    name: str
    method: str
    path: str
    content_length: int
    concurrency: int
    rounds: int
    seconds: int
    headers: Mapping[str, str] = field(default_factory=dict)
    group: str = "requests"

    def prepare(self, registry: Registry) -> None:
        """Push what is asked for, unless it is there, and look at one answer closely."""
        with V2Client(registry.url) as client:
            if client.get_manifest(_REPOSITORY, _TAG).status_code != httpx.codes.OK:
                client.push_blob(_REPOSITORY, _SMALL_BLOB)
                client.push_image(_REPOSITORY, _TAG, _IMAGE)
            answer = client.http.request(self.method, self.path, headers=self.headers)
        body = 0 if self.method == "HEAD" else self.content_length
        if (
            answer.status_code != httpx.codes.OK
            or answer.headers.get("content-length") != str(self.content_length)
            or len(answer.content) != body
        ):
            raise WrongAnswerError(f"{self.method} {self.path}: {answer.status_code} {dict(answer.headers)}")

    def work(self, registry: Registry) -> Work:
        if self.method == "HEAD":
            return head.head(
                registry.host_and_port,
                self.path,
                connections=self.concurrency,
                seconds=self.seconds,
                content_length=self.content_length,
                headers=self.headers,
            )
        return wrk.get(
            registry.url + self.path,
            connections=self.concurrency,
            seconds=self.seconds,
            body_length=self.content_length,
            headers=self.headers,
        )

    def clean(self, registry: Registry) -> None:
        """Nothing is left."""


def request_operations(concurrencies: Sequence[int], *, rounds: int, seconds: int) -> list[Requests]:
    """Every kind of small request with every number of connections."""
    manifest = _IMAGE.manifest
    blob = _IMAGE.layers[0]
    manifests = f"/v2/{_REPOSITORY}/manifests"
    length = len(manifest.content)
    kinds: list[tuple[str, str, str, int, Mapping[str, str]]] = [
        ("GET /v2/", "GET", "/v2/", 2, {}),
        ("GET manifest by tag", "GET", f"{manifests}/{_TAG}", length, _ACCEPT),
        ("GET manifest by digest", "GET", f"{manifests}/{manifest.digest}", length, _ACCEPT),
        ("HEAD manifest by tag", "HEAD", f"{manifests}/{_TAG}", length, _ACCEPT),
        ("HEAD blob", "HEAD", f"/v2/{_REPOSITORY}/blobs/{blob.digest}", len(blob.content), {}),
        ("GET blob, 2 KiB", "GET", f"/v2/{_REPOSITORY}/blobs/{digest_of(_SMALL_BLOB)}", len(_SMALL_BLOB), {}),
    ]
    return [
        Requests(name, method, path, size, concurrency, rounds, seconds, headers)
        for name, method, path, size, headers in kinds
        for concurrency in concurrencies
    ]
