"""The OCI distribution specification, 1.1 and what main adds: every way in, every kind of content."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from support.client import V2Client, error_codes, expect
from support.images import (
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Content,
    digest_of,
)

ALGORITHMS = ("sha256", "sha512")
OCTETS = {"content-type": "application/octet-stream"}
EXAMPLE = "application/vnd.example.thing"


def body(size: int = 512, seed: int = 70) -> bytes:
    return random.Random(seed).randbytes(size)


# ---- blobs: every way in ----


def post_only(client: V2Client, repository: str, content: bytes, digest: str) -> httpx.Response:
    url = f"/v2/{repository}/blobs/uploads/"
    return client.http.post(url, params={"digest": digest}, content=content, headers=OCTETS)


def post_then_put(client: V2Client, repository: str, content: bytes, digest: str) -> httpx.Response:
    answer = expect(client.start_upload(repository), 202)
    return client.http.put(f"{client.location(answer)}&digest={digest}", content=content, headers=OCTETS)


def stream(client: V2Client, repository: str, content: bytes, digest: str) -> httpx.Response:
    answer = expect(client.start_upload(repository), 202)
    answer = expect(client.http.patch(client.location(answer), content=iter([content]), headers=OCTETS), 202)
    return client.http.put(f"{client.location(answer)}&digest={digest}", headers=OCTETS)


def in_chunks(client: V2Client, repository: str, content: bytes, digest: str) -> httpx.Response:
    return _chunked(client, repository, content, digest, last_by_put=False)


def in_chunks_the_last_by_put(
    client: V2Client, repository: str, content: bytes, digest: str
) -> httpx.Response:
    return _chunked(client, repository, content, digest, last_by_put=True)


def _chunked(
    client: V2Client, repository: str, content: bytes, digest: str, *, last_by_put: bool
) -> httpx.Response:
    answer = expect(client.start_upload(repository), 202)
    size = len(content) // 3 + 1
    for start in range(0, len(content), size):
        chunk = content[start : start + size]
        headers = {**OCTETS, "content-range": f"{start}-{start + len(chunk) - 1}"}
        if last_by_put and start + size >= len(content):
            return client.http.put(
                f"{client.location(answer)}&digest={digest}", content=chunk, headers=headers
            )
        answer = expect(client.http.patch(client.location(answer), content=chunk, headers=headers), 202)
        assert answer.headers["range"] == f"0-{start + len(chunk) - 1}"
    return client.http.put(f"{client.location(answer)}&digest={digest}", headers=OCTETS)


Push = Callable[[V2Client, str, bytes, str], httpx.Response]
WAYS_IN: list[Push] = [post_only, post_then_put, stream, in_chunks, in_chunks_the_last_by_put]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("push", WAYS_IN)
def test_a_blob_comes_in_by_every_way_and_reads_back(
    client: V2Client, repository: str, push: Push, algorithm: str
) -> None:
    content = body(3067)
    digest = digest_of(content, algorithm)
    answer = expect(push(client, repository, content, digest), 201)
    assert answer.headers["docker-content-digest"] == digest
    assert expect(client.http.get(client.location(answer)), 200).content == content
    head = expect(client.http.head(f"/v2/{repository}/blobs/{digest}"), 200)
    assert (head.headers["content-length"], head.content) == (str(len(content)), b"")
    assert head.headers["docker-content-digest"] == digest
    expect(client.http.delete(f"/v2/{repository}/blobs/{digest}"), 202)
    expect(client.http.head(f"/v2/{repository}/blobs/{digest}"), 404)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("push", WAYS_IN)
def test_a_blob_that_does_not_match_its_digest_is_refused_by_every_way(
    client: V2Client, repository: str, push: Push, algorithm: str
) -> None:
    digest = digest_of(b"what was promised", algorithm)
    answer = expect(push(client, repository, body(3067), digest), 400)
    assert error_codes(answer) == ["DIGEST_INVALID"]
    expect(client.http.head(f"/v2/{repository}/blobs/{digest}"), 404)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("content", [b"", b"{}"], ids=["empty", "empty JSON"])
@pytest.mark.parametrize("push", [post_only, post_then_put, stream])
def test_well_known_small_blobs(
    client: V2Client, repository: str, push: Push, content: bytes, algorithm: str
) -> None:
    digest = digest_of(content, algorithm)
    expect(push(client, repository, content, digest), 201)
    answer = expect(client.http.get(f"/v2/{repository}/blobs/{digest}"), 200)
    assert (answer.content, answer.headers["content-length"]) == (content, str(len(content)))


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=500-1499", 206, 500, 1500),
        ("bytes=500-", 206, 500, 2048),
        ("bytes=-500", 206, 1548, 2048),
        ("bytes=2000-5000", 206, 2000, 2048),
        ("bytes=500-0", 416, 0, 0),
        ("bytes=5000-10000", 416, 0, 0),
    ],
)
def test_ranges_of_a_blob(
    client: V2Client, repository: str, asked: str, status: int, start: int, end: int
) -> None:
    content = body(2048)
    digest = client.push_blob(repository, content)
    answer = expect(client.http.get(f"/v2/{repository}/blobs/{digest}", headers={"range": asked}), status)
    if status == 206:
        assert answer.content == content[start:end]
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/2048"
        assert answer.headers["content-length"] == str(end - start)


def test_a_cancelled_upload_is_gone(client: V2Client, repository: str) -> None:
    answer = expect(client.start_upload(repository), 202)
    expect(client.http.delete(client.location(answer)), 204)
    expect(client.http.get(client.location(answer)), 404)


# ---- manifests: every kind of content ----


def manifest(media_type: str, **fields: Any) -> Content:
    return Content(
        media_type, json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}, indent=1).encode()
    )


def an_image(client: V2Client, repository: str, seed: int = 71, **fields: Any) -> Content:
    config = Content(OCI_CONFIG, json.dumps({"architecture": "amd64", "os": "linux", "seed": seed}).encode())
    layers = [Content(OCI_LAYER, body(600, seed + number)) for number in range(2)]
    for blob in (config, *layers):
        client.push_blob(repository, blob.content)
    return manifest(
        OCI_MANIFEST,
        **{"config": config.descriptor(), "layers": [layer.descriptor() for layer in layers], **fields},
    )


def an_artifact(client: V2Client, repository: str, **fields: Any) -> Content:
    empty = Content(OCI_EMPTY, b"{}")
    client.push_blob(repository, empty.content)
    return manifest(
        OCI_MANIFEST,
        **{
            "artifactType": EXAMPLE,
            "config": empty.descriptor(),
            "layers": [empty.descriptor()],
            **fields,
        },
    )


def an_index(client: V2Client, repository: str, seed: int = 74, **fields: Any) -> Content:
    children = [an_image(client, repository, seed + number) for number in (0, 10)]
    for child in children:
        expect(client.put_manifest(repository, child.digest, child), 201)
    return manifest(OCI_INDEX, **{"manifests": [child.descriptor() for child in children], **fields})


def a_nested_index(client: V2Client, repository: str) -> Content:
    inner = an_index(client, repository)
    expect(client.put_manifest(repository, inner.digest, inner), 201)
    return manifest(OCI_INDEX, manifests=[inner.descriptor()])


def a_large_manifest(client: V2Client, repository: str) -> Content:
    annotations = {f"annotation-{number}": "A" * 10_000 for number in range(390)}
    return an_image(client, repository, annotations=annotations)


def an_image_with_foreign_layers(client: V2Client, repository: str) -> Content:
    foreign = Content("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", body(90))
    url = f"https://store.example.com/{foreign.digest}"
    return an_image(client, repository, layers=[foreign.descriptor(urls=[url])])


def an_image_with_inline_data(client: V2Client, repository: str) -> Content:
    empty = Content(OCI_EMPTY, b"{}")
    client.push_blob(repository, empty.content)
    return an_image(client, repository, layers=[empty.descriptor(data="e30=")])


KINDS: dict[str, Callable[[V2Client, str], Content]] = {
    "image": an_image,
    "large manifest": a_large_manifest,
    "index": an_index,
    "nested index": a_nested_index,
    "empty index": lambda client, repository: manifest(OCI_INDEX, manifests=[]),
    "artifact": an_artifact,
    "artifact index": lambda client, repository: an_index(client, repository, artifactType=EXAMPLE),
    "missing subject": lambda client, repository: an_artifact(
        client, repository, subject=Content(OCI_MANIFEST, b"never pushed").descriptor()
    ),
    "inline data": an_image_with_inline_data,
    "foreign layers": an_image_with_foreign_layers,
    "custom fields": lambda client, repository: an_image(client, repository, **{"org.example": {"a": [1]}}),
    "no layers": lambda client, repository: an_image(client, repository, layers=[]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_manifest_is_kept_byte_for_byte(client: V2Client, repository: str, kind: str) -> None:
    content = KINDS[kind](client, repository)
    for reference in (content.digest, "tag"):
        answer = expect(client.put_manifest(repository, reference, content), 201)
        assert answer.headers["docker-content-digest"] == content.digest
        assert client.location(answer).endswith(f"/v2/{repository}/manifests/{content.digest}")
    for reference in (content.digest, "tag"):
        answer = expect(client.get_manifest(repository, reference), 200)
        assert (answer.content, answer.headers["content-type"]) == (content.content, content.media_type)
        url = f"/v2/{repository}/manifests/{reference}"
        head = expect(client.http.head(url, headers={"accept": content.media_type}), 200)
        assert head.headers["content-length"] == str(len(content.content))
    assert "tag" in client.http.get(f"/v2/{repository}/tags/list").json()["tags"]
    for reference in ("tag", content.digest):
        expect(client.http.delete(f"/v2/{repository}/manifests/{reference}"), 202)
        expect(client.get_manifest(repository, reference), 404)


def test_a_manifest_is_pushed_and_tagged_by_its_sha512_digest(client: V2Client, repository: str) -> None:
    content = an_image(client, repository)
    digest = digest_of(content.content, "sha512")
    answer = client.http.put(
        f"/v2/{repository}/manifests/{digest}",
        params={"tag": ["one", "two"]},
        content=content.content,
        headers={"content-type": content.media_type},
    )
    assert expect(answer, 201).headers["docker-content-digest"] == digest
    assert answer.headers.get_list("oci-tag") == ["one", "two"]
    for reference in (digest, "one", "two"):
        answer = expect(client.get_manifest(repository, reference), 200)
        assert (answer.content, answer.headers["docker-content-digest"]) == (content.content, digest)


@pytest.mark.parametrize("subject_kind", ["image", "index"])
def test_a_subject_lists_its_referrers_by_type(client: V2Client, repository: str, subject_kind: str) -> None:
    subject = KINDS[subject_kind](client, repository)
    expect(client.put_manifest(repository, "subject", subject), 201)
    fields = {"subject": subject.descriptor(), "annotations": {"org.example": "yes"}}
    referrers = {
        OCI_CONFIG: an_image(client, repository, subject=subject.descriptor()),
        EXAMPLE: an_artifact(client, repository, **fields),
        "application/vnd.example.other": an_index(
            client, repository, artifactType="application/vnd.example.other", **fields
        ),
    }
    for referrer in referrers.values():
        answer = expect(client.put_manifest(repository, referrer.digest, referrer), 201)
        assert answer.headers["oci-subject"] == subject.digest
    url = f"/v2/{repository}/referrers/{subject.digest}"
    listed = {entry["digest"]: entry for entry in expect(client.http.get(url), 200).json()["manifests"]}
    assert set(listed) == {referrer.digest for referrer in referrers.values()}
    for artifact_type, referrer in referrers.items():
        entry = listed[referrer.digest]
        assert (entry["mediaType"], entry["size"]) == (referrer.media_type, len(referrer.content))
        assert entry["artifactType"] == artifact_type
        answer = client.http.get(url, params={"artifactType": artifact_type})
        assert answer.headers["oci-filters-applied"] == "artifactType"
        assert [found["digest"] for found in answer.json()["manifests"]] == [referrer.digest]
    assert listed[referrers[EXAMPLE].digest]["annotations"] == {"org.example": "yes"}


def test_the_fallback_tag_of_an_older_registry_is_folded_into_the_referrers(
    client: V2Client, repository: str
) -> None:
    subject = an_image(client, repository)
    expect(client.put_manifest(repository, "subject", subject), 201)
    # what a client does when a registry has no referrers API: no subject is known, so it keeps an index
    referrer = an_artifact(client, repository, annotations={"written": "by tag"})
    expect(client.put_manifest(repository, referrer.digest, referrer), 201)
    fallback = manifest(OCI_INDEX, manifests=[referrer.descriptor(artifactType=EXAMPLE)])
    expect(client.put_manifest(repository, subject.digest.replace(":", "-"), fallback), 201)
    answer = expect(client.http.get(f"/v2/{repository}/referrers/{subject.digest}"), 200)
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [referrer.digest]


# ---- errors ----


@pytest.mark.parametrize("reference", ["missing-tag", digest_of(b"missing"), digest_of(b"missing", "sha512")])
def test_a_manifest_that_is_not_there_is_unknown(client: V2Client, repository: str, reference: str) -> None:
    assert error_codes(expect(client.get_manifest(repository, reference), 404)) == ["MANIFEST_UNKNOWN"]


def test_a_malformed_digest_is_refused(client: V2Client, repository: str) -> None:
    content = an_image(client, repository)
    for answer in (
        client.put_manifest(repository, "sha256:baddigeststring", content),
        client.get_manifest(repository, "sha256:baddigeststring"),
        client.http.get(f"/v2/{repository}/blobs/sha256:baddigeststring"),
        client.http.get(f"/v2/{repository}/referrers/sha256:baddigeststring"),
    ):
        assert error_codes(expect(answer, 400)) == ["DIGEST_INVALID"]


def test_a_manifest_that_does_not_match_its_digest_is_refused(client: V2Client, repository: str) -> None:
    content = an_image(client, repository)
    padded = Content(content.media_type, content.content + b"  ")
    answer = expect(client.put_manifest(repository, content.digest, padded), 400)
    assert error_codes(answer) == ["DIGEST_INVALID"]


def test_a_manifest_over_the_limit_is_too_large(client: V2Client, repository: str) -> None:
    content = an_image(client, repository, annotations={"a": "A" * (4 << 20)})
    answer = expect(client.put_manifest(repository, "large", content), 413)
    assert error_codes(answer) == ["MANIFEST_INVALID"]
    expect(client.get_manifest(repository, "large"), 404)
