"""A client of the V2 API that does what docker does, and shows every answer."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import urljoin

import httpx

from support.images import ACCEPT_ALL, Content, Image, Index, digest_of


class V2Client:
    """Pushes and pulls over HTTP; a method fails with the answer when it is not the expected one."""

    def __init__(
        self, url: str, *, timeout: float = 60, verify: ssl.SSLContext | None = None, source: str = ""
    ) -> None:
        """`source` is the address of this machine to connect from; by default the system's choice."""
        self.url = url
        transport = httpx.HTTPTransport(verify=verify or True, local_address=source) if source else None
        self.http = httpx.Client(base_url=url, timeout=timeout, verify=verify or True, transport=transport)

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> V2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_upload(self, repository: str, **parameters: str) -> httpx.Response:
        return self.http.post(f"/v2/{repository}/blobs/uploads/", params=parameters or None)

    def location(self, answer: httpx.Response) -> str:
        """The absolute URL of an answer's Location."""
        return urljoin(str(answer.request.url), answer.headers["location"])

    def push_blob(self, repository: str, content: bytes, *, chunked: bool = True) -> str:
        """POST, PATCH, PUT as docker does (or POST, PUT); gives the digest."""
        digest = digest_of(content)
        answer = expect(self.start_upload(repository), 202)
        if chunked:
            answer = expect(
                self.http.patch(
                    self.location(answer),
                    content=_pieces(content),
                    headers={"content-type": "application/octet-stream"},
                ),
                202,
            )
        url = httpx.URL(self.location(answer)).copy_merge_params({"digest": digest})
        answer = expect(self.http.put(url, content=b"" if chunked else content), 201)
        assert answer.headers["docker-content-digest"] == digest
        return digest

    def has_blob(self, repository: str, digest: str) -> bool:
        return expect(self.http.head(f"/v2/{repository}/blobs/{digest}"), 200, 404).status_code == 200

    def get_blob(self, repository: str, digest: str) -> bytes:
        return expect(self.http.get(f"/v2/{repository}/blobs/{digest}"), 200).content

    def put_manifest(self, repository: str, reference: str, manifest: Content) -> httpx.Response:
        return self.http.put(
            f"/v2/{repository}/manifests/{reference}",
            content=manifest.content,
            headers={"content-type": manifest.media_type},
        )

    def get_manifest(self, repository: str, reference: str) -> httpx.Response:
        return self.http.get(f"/v2/{repository}/manifests/{reference}", headers={"accept": ACCEPT_ALL})

    def push_image(self, repository: str, reference: str, image: Image) -> None:
        """What docker does: HEAD each blob, push those that are missing, then the manifest."""
        for blob in image.blobs:
            if not self.has_blob(repository, blob.digest):
                self.push_blob(repository, blob.content)
        expect(self.put_manifest(repository, reference, image.manifest), 201)

    def push_index(self, repository: str, reference: str, index: Index) -> None:
        for child in index.children:
            self.push_image(repository, child.manifest.digest, child)
        expect(self.put_manifest(repository, reference, index.manifest), 201)

    def assert_holds(self, repository: str, reference: str, image: Image) -> None:
        """The image reads back, byte for byte, through the tag or digest."""
        answer = expect(self.get_manifest(repository, reference), 200)
        assert answer.content == image.manifest.content
        assert answer.headers["docker-content-digest"] == image.manifest.digest
        for blob in image.blobs:
            assert self.get_blob(repository, blob.digest) == blob.content


def expect(answer: httpx.Response, *statuses: int) -> httpx.Response:
    """The answer, when its status is one of those expected."""
    assert answer.status_code in statuses, (
        f"{answer.request.method} {answer.request.url}: {answer.status_code}, not {statuses}\n"
        f"{answer.text[:2000]}"
    )
    return answer


def error_codes(answer: httpx.Response) -> list[str]:
    """The codes of an answer's error envelope."""
    return [entry["code"] for entry in answer.json()["errors"]]


def _pieces(content: bytes, size: int = 1 << 16) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
