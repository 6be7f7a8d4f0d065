"""A registry on a bucket: as its example starts it, redirecting clients, beside docker-registry."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from support.ceph import S3Access
from support.client import V2Client, error_codes, expect
from support.images import digest_of, make_image
from support.registry import Up, running_docker_registry, running_up
from support.s3 import TestBucket

EXAMPLE = Path(__file__).parents[2] / "docs/examples/s3.yml"
REPOSITORY = "team/app"
IMAGE = make_image(60, (3000, 12_000_000))
LAYER = IMAGE.layers[1]


@pytest.fixture(scope="module")
def bucket(s3: S3Access) -> TestBucket:
    return TestBucket(s3, f"e2e-{secrets.token_hex(6)}").create()


@contextmanager
def started(folder: Path, bucket: TestBucket, **settings: str) -> Iterator[Up]:
    """The example of the documents on this bucket, with some of its keys set by the environment."""
    storage = yaml.safe_load(EXAMPLE.read_text())["storage"]
    storage["s3"] |= {
        "bucket": bucket.name,
        "regionendpoint": bucket.access.endpoint,
        "accesskey": bucket.access.access_key,
        "secretkey": bucket.access.secret_key,
    }
    environ = {"REGISTRY_CONFIGURATION_PATH": str(EXAMPLE), **settings}
    with running_up(folder, environ, storage=storage) as up:
        yield up


@pytest.fixture(scope="module")
def registry(bucket: TestBucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with started(tmp_path_factory.mktemp("s3"), bucket) as up:
        with V2Client(up.url) as client:
            client.push_image(REPOSITORY, "v1", IMAGE)
        yield up


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_redirected_to_the_bucket_and_a_client_that_follows_gets_it(
    registry: Up, bucket: TestBucket, method: str
) -> None:
    url = f"{registry.url}/v2/{REPOSITORY}/blobs/{LAYER.digest}"
    answer = expect(httpx.request(method, url), 307)
    location = urlsplit(answer.headers["location"])
    assert f"{location.scheme}://{location.netloc}" == bucket.access.endpoint
    hexadecimal = LAYER.digest.removeprefix("sha256:")
    tree = "registry/docker/registry/v2/blobs/sha256"
    assert location.path == f"/{bucket.name}/{tree}/{hexadecimal[:2]}/{hexadecimal}/data"
    assert parse_qs(location.query)["X-Amz-Expires"] == ["1200"]
    assert answer.headers["docker-content-digest"] == LAYER.digest
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == b""
    followed = expect(httpx.request(method, url, follow_redirects=True), 200)
    assert followed.content == (LAYER.content if method == "GET" else b"")
    assert followed.headers["content-length"] == str(len(LAYER.content))


def test_a_client_asks_the_bucket_for_a_range(registry: Up) -> None:
    url = f"{registry.url}/v2/{REPOSITORY}/blobs/{LAYER.digest}"
    headers = {"range": "bytes=1000-1999"}
    assert httpx.get(url, headers=headers).status_code == 307
    followed = expect(httpx.get(url, headers=headers, follow_redirects=True), 206)
    assert followed.content == LAYER.content[1000:2000]


def test_manifests_and_what_the_client_holds_are_answered_by_the_registry(registry: Up) -> None:
    url = f"{registry.url}/v2/{REPOSITORY}/blobs/{LAYER.digest}"
    expect(httpx.get(url, headers={"if-none-match": f'"{LAYER.digest}"'}), 304)
    expect(
        httpx.get(
            f"{registry.url}/v2/{REPOSITORY}/manifests/v1", headers={"accept": IMAGE.manifest.media_type}
        ),
        200,
    )


def test_nobody_is_redirected_to_a_blob_that_the_repository_does_not_link(registry: Up) -> None:
    for name, digest in (("other/app", LAYER.digest), (REPOSITORY, digest_of(b"nothing"))):
        answer = expect(httpx.get(f"{registry.url}/v2/{name}/blobs/{digest}"), 404)
        assert error_codes(answer)[0] in {"BLOB_UNKNOWN", "NAME_UNKNOWN"}
        assert "location" not in answer.headers


def test_with_redirects_disabled_the_registry_serves_the_blob(bucket: TestBucket, tmp_path: Path) -> None:
    with (
        started(tmp_path, bucket, REGISTRY_STORAGE_REDIRECT_DISABLE="true") as up,
        V2Client(up.url) as client,
    ):
        client.push_image(REPOSITORY, "unredirected", IMAGE)
        client.assert_holds(REPOSITORY, "unredirected", IMAGE)
        answer = client.http.get(
            f"/v2/{REPOSITORY}/blobs/{LAYER.digest}", headers={"range": "bytes=5000000-11999999"}
        )
        assert expect(answer, 206).content == LAYER.content[5_000_000:12_000_000]


def test_docker_registry_and_moorage_take_turns_on_one_bucket(
    registry: Up, bucket: TestBucket, tmp_path: Path
) -> None:
    parameters = {
        "bucket": bucket.name,
        "region": bucket.access.region,
        "regionendpoint": bucket.access.endpoint,
        "accesskey": bucket.access.access_key,
        "secretkey": bucket.access.secret_key,
        "rootdirectory": "/registry",
    }
    environ = {f"REGISTRY_STORAGE_S3_{key.upper()}": value for key, value in parameters.items()}
    # Its AWS library does not start with a bundle of certificates in the environment.
    environ |= {"REGISTRY_STORAGE": "s3", "AWS_CA_BUNDLE": ""}
    with (
        running_docker_registry(tmp_path / "unused", tmp_path / "peer", environ) as peer,
        V2Client(peer.url) as there,
        V2Client(registry.url) as here,
    ):
        here.http.follow_redirects = there.http.follow_redirects = True
        there.assert_holds(REPOSITORY, "v1", IMAGE)
        theirs = make_image(61, (9_000_000,))
        there.push_image(REPOSITORY, "theirs", theirs)
        here.assert_holds(REPOSITORY, "theirs", theirs)
        ours = make_image(62)
        here.push_image(REPOSITORY, "ours", ours)
        there.assert_holds(REPOSITORY, "ours", ours)
        listed = there.http.get(f"/v2/{REPOSITORY}/tags/list").json()["tags"]
        assert {"ours", "theirs", "v1"} <= set(listed)


def test_pushes_leave_nothing_behind_but_the_tree(bucket: TestBucket, registry: Up) -> None:
    content = hashlib.sha512(b"seed").digest() * 200_000
    with V2Client(registry.url) as client:
        client.push_blob(REPOSITORY, content)
        answer = expect(client.start_upload(REPOSITORY), 202)
        answer = expect(client.http.patch(client.location(answer), content=content), 202)
        expect(client.http.delete(client.location(answer)), 204)
    assert bucket.uploads() == []
    left = [key for key in bucket.objects() if "/_uploads/" in key]
    assert left == []
