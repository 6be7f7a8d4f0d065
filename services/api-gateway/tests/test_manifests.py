"""Manifests over HTTP."""

from __future__ import annotations

import hashlib
import json

import pytest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = {"Accept": MANIFEST}


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def get(registry, repository: str, reference: str, **headers: str):
    return registry.client.get(f"/v2/{repository}/manifests/{reference}", headers={**ACCEPT, **headers})


def test_a_manifest_is_served_byte_for_byte_by_tag_and_by_digest(registry, repository: str) -> None:
    digest, content = registry.push_image(repository, "v1")
    for reference in ("v1", digest):
        answer = get(registry, repository, reference)
        assert answer.content == content
        assert answer.headers["content-type"] == MANIFEST
        assert answer.headers["docker-content-digest"] == digest
        assert answer.headers["etag"] == f'"{digest}"'


def test_head_has_the_headers_of_get_and_no_body(registry, repository: str) -> None:
    registry.push_image(repository, "v1")
    path = f"/v2/{repository}/manifests/v1"
    got = registry.client.get(path, headers=ACCEPT)
    head = registry.client.head(path, headers=ACCEPT)
    assert head.content == b""
    without_date = [{k: v for k, v in answer.headers.items() if k != "date"} for answer in (got, head)]
    assert without_date[0] == without_date[1]


def test_a_push_by_tag_answers_with_the_location_by_digest(registry, repository: str) -> None:
    content = registry.image(repository)
    answer = registry.put_manifest(repository, "v1", content)
    digest = digest_of(content)
    assert answer.headers["location"] == f"{registry.url}/v2/{repository}/manifests/{digest}"
    assert answer.headers["docker-content-digest"] == digest
    assert "oci-tag" not in answer.headers


def test_the_parameters_of_content_type_do_not_count(registry, repository: str) -> None:
    content = registry.image(repository)
    answer = registry.put_manifest(repository, "v1", content, f"{MANIFEST}; charset=utf-8")
    assert answer.status_code == 201
    assert get(registry, repository, "v1").headers["content-type"] == MANIFEST


def test_a_manifest_pushed_by_sha512_is_served_under_that_digest(registry, repository: str) -> None:
    content = registry.image(repository)
    digest = digest_of(content, "sha512")
    answer = registry.put_manifest(repository, digest, content)
    assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, digest)
    assert answer.headers["location"].endswith(digest)
    got = get(registry, repository, digest)
    assert (got.content, got.headers["docker-content-digest"]) == (content, digest)


@pytest.mark.parametrize(
    "condition", ['"{digest}"', "{digest}", 'W/"{digest}"', '"sha256:0", "{digest}"', "*"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_that_holds_the_manifest_is_told_so(
    registry, repository: str, condition: str, method: str
) -> None:
    digest, _ = registry.push_image(repository, "v1")
    headers = {**ACCEPT, "If-None-Match": condition.format(digest=digest)}
    answer = registry.client.request(method, f"/v2/{repository}/manifests/v1", headers=headers)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{digest}"'


def test_if_none_match_counts_on_any_of_several_lines(registry, repository: str) -> None:
    digest, _ = registry.push_image(repository, "v1")
    headers = [("Accept", MANIFEST), ("If-None-Match", "sha256:0"), ("If-None-Match", digest)]
    assert registry.client.get(f"/v2/{repository}/manifests/v1", headers=headers).status_code == 304


def test_if_none_match_of_another_manifest_serves_this_one(registry, repository: str) -> None:
    _, content = registry.push_image(repository, "v1")
    answer = get(registry, repository, "v1", **{"If-None-Match": f'"sha256:{"0" * 64}"'})
    assert (answer.status_code, answer.content) == (200, content)


def test_an_oci_manifest_is_served_only_to_a_client_that_accepts_it(registry, repository: str) -> None:
    registry.push_image(repository, "v1")
    path = f"/v2/{repository}/manifests/v1"
    answer = registry.client.get(path, headers={"Accept": "application/vnd.docker.image.rootfs.diff.tar"})
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    lines = [("Accept", "text/plain;q=0.9, application/json"), ("Accept", f"x/y , {MANIFEST.upper()};q=0.1")]
    assert registry.client.get(path, headers=lines).status_code == 200


def test_one_push_sets_several_tags(registry, repository: str) -> None:
    content = registry.image(repository)
    digest = digest_of(content)
    answer = registry.put_manifest(repository, digest, content, tag=["v2", "v2.1", "v2"])
    assert answer.status_code == 201
    assert sorted(answer.headers.get_list("oci-tag")) == ["v2", "v2.1"]
    for tag in ("v2", "v2.1"):
        assert get(registry, repository, tag).headers["docker-content-digest"] == digest


@pytest.mark.parametrize(
    ("by_digest", "tags"), [(False, ["other"]), (True, ["ok", "-bad"]), (True, [""]), (True, ["a/b"])]
)
def test_tag_parameters_that_make_no_sense_store_nothing(
    registry, repository: str, by_digest: bool, tags: list[str]
) -> None:
    content = registry.image(repository)
    digest = digest_of(content)
    answer = registry.put_manifest(repository, digest if by_digest else "v1", content, tag=tags)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "TAG_INVALID"
    assert get(registry, repository, digest).status_code == 404


def test_a_manifest_with_a_subject_is_acknowledged_and_listed(registry, repository: str) -> None:
    digest, content = registry.push_image(repository, "v1")
    subject = {"mediaType": MANIFEST, "digest": digest, "size": len(content)}
    artifact = registry.image(repository, subject=subject, artifactType="application/vnd.test.sbom")
    answer = registry.put_manifest(repository, digest_of(artifact), artifact)
    assert answer.headers["oci-subject"] == digest
    index = registry.client.get(f"/v2/{repository}/referrers/{digest}").json()
    assert [entry["digest"] for entry in index["manifests"]] == [digest_of(artifact)]
    assert index["manifests"][0]["artifactType"] == "application/vnd.test.sbom"


def test_every_missing_blob_is_named(registry, repository: str) -> None:
    manifest = json.loads(registry.image(repository))
    missing = [f"sha256:{number:064x}" for number in range(150)]
    manifest["layers"] = [{"mediaType": "application/x", "digest": digest, "size": 1} for digest in missing]
    answer = registry.put_manifest(repository, "v1", json.dumps(manifest).encode())
    assert answer.status_code == 400
    errors = answer.json()["errors"]
    assert {error["code"] for error in errors} == {"MANIFEST_BLOB_UNKNOWN"}
    assert all(digest in json.dumps(errors) for digest in missing)


def test_a_manifest_as_large_as_the_limit_is_taken_and_one_byte_more_is_not(
    start_registry, repository: str
) -> None:
    registry = start_registry(http={"limits": {"manifestsize": 4096}})
    content = registry.image(repository)
    fitting = content[:-1] + b" " * (4096 - len(content)) + b"}"
    assert registry.put_manifest(repository, "v1", fitting).status_code == 201
    answer = registry.put_manifest(repository, "v2", fitting[:-1] + b" }")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "MANIFEST_INVALID")
    assert get(registry, repository, "v2").status_code == 404


def test_deleting_by_digest_takes_the_tags_along_and_by_tag_only_the_tag(registry, repository: str) -> None:
    first, _ = registry.push_image(repository, "v1")
    second, _ = registry.push_image(repository, "v2")
    assert registry.client.delete(f"/v2/{repository}/manifests/{first}").status_code == 202
    assert get(registry, repository, "v1").status_code == 404
    assert registry.client.delete(f"/v2/{repository}/manifests/v2").status_code == 202
    assert get(registry, repository, "v2").status_code == 404
    assert get(registry, repository, second).status_code == 200
