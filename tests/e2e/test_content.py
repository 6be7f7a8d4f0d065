"""Mounts, deletes, tags and referrers through the whole system."""

from __future__ import annotations

from support.client import V2Client, error_codes, expect
from support.images import OCI_INDEX, Content, digest_of, make_artifact, make_image, make_index


def test_a_mounted_blob_is_readable_without_an_upload(client: V2Client, repository: str) -> None:
    digest = client.push_blob(f"{repository}/source", b"shared layer")
    answer = client.start_upload(f"{repository}/target", mount=digest, **{"from": f"{repository}/source"})
    assert expect(answer, 201).headers["docker-content-digest"] == digest
    assert client.get_blob(f"{repository}/target", digest) == b"shared layer"


def test_a_mount_from_a_repository_without_the_blob_becomes_an_upload(
    client: V2Client, repository: str
) -> None:
    digest = client.push_blob(f"{repository}/owner", b"somebody else's layer")
    answer = client.start_upload(f"{repository}/target", mount=digest, **{"from": f"{repository}/other"})
    assert "docker-upload-uuid" in expect(answer, 202).headers
    assert not client.has_blob(f"{repository}/target", digest)


def test_a_blob_is_seen_only_through_the_repositories_that_link_it(client: V2Client, repository: str) -> None:
    digest = client.push_blob(f"{repository}/a", b"private to a")
    answer = expect(client.http.get(f"/v2/{repository}/b/blobs/{digest}"), 404)
    assert error_codes(answer) == ["BLOB_UNKNOWN"]


def test_deleting_a_blob_in_one_repository_takes_it_from_that_one_alone(
    client: V2Client, repository: str
) -> None:
    for name in ("a", "b"):
        digest = client.push_blob(f"{repository}/{name}", b"in both")
    expect(client.http.delete(f"/v2/{repository}/a/blobs/{digest}"), 202)
    assert client.get_blob(f"{repository}/b", digest) == b"in both"
    # reading b must not bring it back in a (CVE-2026-35172)
    assert not client.has_blob(f"{repository}/a", digest)


def test_deleting_a_manifest_by_digest_takes_its_tags_along(client: V2Client, repository: str) -> None:
    image, other = make_image(10), make_image(11)
    client.push_image(repository, "one", image)
    client.push_image(repository, "same", image)
    client.push_image(repository, "other", other)
    expect(client.http.delete(f"/v2/{repository}/manifests/{image.manifest.digest}"), 202)
    assert client.http.get(f"/v2/{repository}/tags/list").json()["tags"] == ["other"]
    expect(client.get_manifest(repository, image.manifest.digest), 404)
    client.assert_holds(repository, "other", other)


def test_deleting_a_tag_leaves_the_manifest(client: V2Client, repository: str) -> None:
    image = make_image(12)
    client.push_image(repository, "gone", image)
    expect(client.http.delete(f"/v2/{repository}/manifests/gone"), 202)
    expect(client.get_manifest(repository, "gone"), 404)
    client.assert_holds(repository, image.manifest.digest, image)


def test_what_was_deleted_can_be_pushed_again(client: V2Client, repository: str) -> None:
    image = make_image(13)
    client.push_image(repository, "one", image)
    expect(client.http.delete(f"/v2/{repository}/manifests/{image.manifest.digest}"), 202)
    for blob in image.blobs:
        expect(client.http.delete(f"/v2/{repository}/blobs/{blob.digest}"), 202)
    client.push_image(repository, "one", image)
    client.assert_holds(repository, "one", image)


def test_a_manifest_is_refused_while_a_layer_is_missing(client: V2Client, repository: str) -> None:
    image = make_image(14)
    client.push_blob(repository, image.config.content)
    answer = expect(client.put_manifest(repository, "one", image.manifest), 400)
    assert error_codes(answer) == ["MANIFEST_BLOB_UNKNOWN"] * len(image.layers)
    expect(client.get_manifest(repository, "one"), 404)


def test_referrers_are_listed_filtered_and_removed(client: V2Client, repository: str) -> None:
    image = make_image(15)
    client.push_image(repository, "one", image)
    signature = make_artifact(image.manifest, "application/vnd.example.signature", {"by": "somebody"})
    sbom = make_artifact(image.manifest, "application/vnd.example.sbom")
    for artifact in (signature, sbom):
        for blob in artifact.blobs:
            client.push_blob(repository, blob.content)
        answer = expect(client.put_manifest(repository, artifact.manifest.digest, artifact.manifest), 201)
        assert answer.headers["oci-subject"] == image.manifest.digest
    url = f"/v2/{repository}/referrers/{image.manifest.digest}"
    answer = expect(client.http.get(url), 200)
    assert answer.headers["content-type"] == OCI_INDEX
    assert {entry["digest"] for entry in answer.json()["manifests"]} == {
        signature.manifest.digest,
        sbom.manifest.digest,
    }
    answer = client.http.get(url, params={"artifactType": "application/vnd.example.signature"})
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert answer.json()["manifests"] == [
        signature.manifest.descriptor(
            artifactType="application/vnd.example.signature", annotations={"by": "somebody"}
        )
    ]
    expect(client.http.delete(f"/v2/{repository}/manifests/{signature.manifest.digest}"), 202)
    left = [entry["digest"] for entry in client.http.get(url).json()["manifests"]]
    assert left == [sbom.manifest.digest]


def test_referrers_of_something_unknown_are_an_empty_index(client: V2Client, repository: str) -> None:
    answer = expect(client.http.get(f"/v2/{repository}/referrers/{digest_of(b'never pushed')}"), 200)
    assert (answer.json()["schemaVersion"], answer.json()["manifests"]) == (2, [])


def test_one_push_by_digest_sets_several_tags(client: V2Client, repository: str) -> None:
    image = make_image(16)
    for blob in image.blobs:
        client.push_blob(repository, blob.content)
    answer = client.http.put(
        f"/v2/{repository}/manifests/{image.manifest.digest}",
        params={"tag": ["a", "b"]},
        content=image.manifest.content,
        headers={"content-type": image.manifest.media_type},
    )
    assert expect(answer, 201).headers.get_list("oci-tag") == ["a", "b"]
    for tag in ("a", "b"):
        client.assert_holds(repository, tag, image)


def test_sha512_content_is_served_under_the_digest_it_was_pushed_with(
    client: V2Client, repository: str
) -> None:
    content = b"a layer with a long digest"
    digest = digest_of(content, "sha512")
    answer = expect(client.http.post(
        f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content,
        headers={"content-type": "application/octet-stream"},
    ), 201)  # fmt: skip
    assert answer.headers["docker-content-digest"] == digest
    assert client.get_blob(repository, digest) == content
    assert client.get_blob(repository, digest_of(content)) == content


def test_the_catalog_and_tags_are_paged(client: V2Client, repository: str) -> None:
    index = make_index(17)
    names = [f"{repository}/{name}" for name in ("a", "a-b", "a/b", "b")]
    for name in names:
        client.push_index(name, "t1", index)
    seen, url = [], "/v2/_catalog?n=1"
    while url:
        answer = expect(client.http.get(url), 200)
        seen += answer.json()["repositories"]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    assert [name for name in seen if name.startswith(f"{repository}/")] == [
        f"{repository}/{name}" for name in ("a", "a/b", "a-b", "b")
    ]
    assert len(seen) == len(set(seen))


def test_a_manifest_that_could_be_read_as_an_index_is_refused(client: V2Client, repository: str) -> None:
    image = make_image(18)
    for blob in image.blobs:
        client.push_blob(repository, blob.content)
    ambiguous = Content(
        image.manifest.media_type, image.manifest.content.replace(b'"layers"', b'"manifests": [], "layers"')
    )
    assert error_codes(expect(client.put_manifest(repository, "one", ambiguous), 400)) == ["MANIFEST_INVALID"]
