"""Pushes and pulls over each storage driver that there is, on its real backend."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from blob_service.drivers import factory
from support.backends import Resources, place
from support.client import V2Client, error_codes, expect
from support.engine import skopeo_copy
from support.images import digest_of, make_image, make_index, write_oci_layout
from support.processes import wait_until
from support.registry import Up, running_up

MOORAGE = Path(sys.executable).with_name("moorage")
RANDOM = random.Random(4)

# Larger than a stripe of RADOS, a part of S3 and the chunks in which any driver reads; of no round size.
LARGE = RANDOM.randbytes(11 * (1 << 20) + 12_345)

# Drivers that send clients to the backend are tried both ways.
DRIVERS = [(name, redirects) for name in factory.DRIVERS for redirects in (True, False)]
DRIVERS = [(name, redirects) for name, redirects in DRIVERS if redirects or name == "s3"]


@dataclass(frozen=True)
class Registry:
    up: Up
    driver: str
    storage: dict[str, Any]

    @property
    def address(self) -> str:
        return self.up.address

    @property
    def is_lasting(self) -> bool:
        return self.driver != "inmemory"


@pytest.fixture(
    scope="module",
    params=DRIVERS,
    ids=[name if redirects else f"{name}-without-redirects" for name, redirects in DRIVERS],
)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """`moorage up` over an empty place in a driver's backend."""
    driver, redirects = request.param
    folder = tmp_path_factory.mktemp(driver)
    resources = Resources(
        folder,
        ceph=lambda: request.getfixturevalue("ceph"),
        s3=lambda: request.getfixturevalue("s3"),
    )
    storage: dict[str, Any] = {
        driver: place(driver, resources),
        "delete": {"enabled": True},
        "redirect": {"disable": not redirects},
    }
    with running_up(folder / "up", storage=storage) as up:
        yield Registry(up, driver, storage)


@pytest.fixture
def client(registry: Registry) -> Iterator[V2Client]:
    """Follows redirects to the backend, as docker does."""
    with V2Client(registry.up.url) as client:
        client.http.follow_redirects = True
        yield client


def upload_in_pieces(client: V2Client, repository: str, content: bytes, at: list[int]) -> str:
    """One PATCH for each piece between the offsets `at`; gives the digest."""
    answer = expect(client.start_upload(repository), 202)
    for start, end in zip([0, *at], [*at, len(content)], strict=True):
        answer = expect(
            client.http.patch(
                client.location(answer),
                content=content[start:end],
                headers={"content-range": f"{start}-{end - 1}"},
            ),
            202,
        )
        assert answer.headers["range"] == f"0-{end - 1}"
    digest = digest_of(content)
    expect(client.http.put(f"{client.location(answer)}&digest={digest}"), 201)
    return digest


def test_an_image_is_pushed_and_pulled_by_tag_and_by_digest(client: V2Client, repository: str) -> None:
    image = make_image(1, (2000, 6_000_000))
    client.push_image(repository, "v1", image)
    client.assert_holds(repository, "v1", image)
    client.assert_holds(repository, image.manifest.digest, image)
    newer = make_image(2)
    client.push_image(repository, "v1", newer)
    client.assert_holds(repository, "v1", newer)
    client.assert_holds(repository, image.manifest.digest, image)


def test_skopeo_pushes_and_pulls_an_index(
    registry: Registry, client: V2Client, repository: str, tmp_path: Path
) -> None:
    index = make_index(3)
    layout = write_oci_layout(tmp_path / "source", {"all": index})
    remote = f"docker://{registry.address}/{repository}:all"
    skopeo_copy(f"oci:{layout}:all", remote, "--all", "--preserve-digests")
    skopeo_copy(remote, f"oci:{tmp_path}/back:all", "--all", "--preserve-digests")
    blobs = {path.name for path in (layout / "blobs/sha256").iterdir()}
    assert {path.name for path in (tmp_path / "back/blobs/sha256").iterdir()} == blobs
    for child in index.children:
        client.assert_holds(repository, child.manifest.digest, child)


@pytest.mark.parametrize("size", [0, 1, 4 << 20, (4 << 20) + 1, 5 << 20, len(LARGE)])
def test_a_blob_of_any_size_reads_back(client: V2Client, repository: str, size: int) -> None:
    digest = client.push_blob(repository, LARGE[:size])
    assert client.get_blob(repository, digest) == LARGE[:size]
    head = expect(client.http.head(f"/v2/{repository}/blobs/{digest}"), 200)
    assert int(head.headers["content-length"]) == size


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=4194300-4194310", 4_194_300, 4_194_310),
        ("bytes=5000000-", 5_000_000, len(LARGE) - 1),
        ("bytes=-10", len(LARGE) - 10, len(LARGE) - 1),
        ("bytes=11000000-99999999", 11_000_000, len(LARGE) - 1),
    ],
)
def test_a_range_is_the_bytes_that_were_asked_for(
    client: V2Client, repository: str, asked: str, first: int, last: int
) -> None:
    digest = client.push_blob(repository, LARGE)
    answer = expect(client.http.get(f"/v2/{repository}/blobs/{digest}", headers={"range": asked}), 206)
    assert answer.content == LARGE[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(LARGE)}"


def test_a_range_beyond_the_end_is_refused(client: V2Client, repository: str) -> None:
    digest = client.push_blob(repository, b"content")
    expect(client.http.get(f"/v2/{repository}/blobs/{digest}", headers={"range": "bytes=7-"}), 416)


@pytest.mark.parametrize(
    "at",
    [
        [1],
        [3 << 20, 6 << 20, 9 << 20],  # resumes in the upper half of a stripe of 4 MiB
        [4 << 20, 8 << 20],
        [5 << 20, 10 << 20],
        [1000, 2000, 3000, 10_000_000],
        [len(LARGE) - 1],
    ],
)
def test_a_blob_pushed_in_chunks_is_the_chunks_in_their_order(
    client: V2Client, repository: str, at: list[int]
) -> None:
    digest = upload_in_pieces(client, repository, LARGE, at)
    assert client.get_blob(repository, digest) == LARGE


@pytest.mark.parametrize("cut", [1000, 3 << 20, 6_000_000])
def test_an_upload_that_was_cut_goes_on_where_it_stopped(
    registry: Registry, client: V2Client, repository: str, cut: int
) -> None:
    answer = expect(client.start_upload(repository), 202)
    url = httpx.URL(client.location(answer))
    send_part_of_a_patch(registry.address, url.raw_path.decode(), LARGE[:cut])

    def status() -> httpx.Response:
        return expect(client.http.get(url), 204)

    wait_until(
        lambda: status().headers["range"] == f"0-{cut - 1}",
        timeout=30,
        what="what the client sent before it was cut is kept",
    )
    answer = expect(client.http.patch(client.location(status()), content=LARGE[cut:]), 202)
    digest = digest_of(LARGE)
    expect(client.http.put(f"{client.location(answer)}&digest={digest}"), 201)
    assert client.get_blob(repository, digest) == LARGE


def send_part_of_a_patch(address: str, path: str, content: bytes) -> None:
    """A client that promises a whole blob, and is cut off after `content`."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {len(LARGE)}\r\n\r\n".encode()
            + content
        )
        connection.shutdown(socket.SHUT_WR)


def test_a_blob_that_does_not_match_its_digest_is_not_stored(client: V2Client, repository: str) -> None:
    wrong = digest_of(b"something else")
    answer = expect(client.start_upload(repository), 202)
    answer = expect(client.http.patch(client.location(answer), content=LARGE), 202)
    refused = expect(client.http.put(f"{client.location(answer)}&digest={wrong}"), 400)
    assert error_codes(refused) == ["DIGEST_INVALID"]
    assert not client.has_blob(repository, wrong)
    assert error_codes(expect(client.http.get(client.location(answer)), 404)) == ["BLOB_UPLOAD_UNKNOWN"]


def test_a_cancelled_upload_is_unknown(client: V2Client, repository: str) -> None:
    answer = expect(client.start_upload(repository), 202)
    answer = expect(client.http.patch(client.location(answer), content=LARGE[: 6 << 20]), 202)
    expect(client.http.delete(client.location(answer)), 204)
    assert error_codes(expect(client.http.get(client.location(answer)), 404)) == ["BLOB_UPLOAD_UNKNOWN"]


def test_of_clients_that_push_one_blob_at_once_all_succeed(client: V2Client, repository: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda number: client.push_blob(f"{repository}/{number}", LARGE), range(4)))
    assert set(digests) == {digest_of(LARGE)}
    for number in range(4):
        assert client.get_blob(f"{repository}/{number}", digests[0]) == LARGE


def test_a_blob_is_mounted_from_another_repository(client: V2Client, repository: str) -> None:
    digest = client.push_blob(repository, LARGE)
    other = f"{repository}/other"
    answer = expect(client.start_upload(other, mount=digest, **{"from": repository}), 201)
    assert answer.headers["docker-content-digest"] == digest
    assert client.get_blob(other, digest) == LARGE
    expect(client.start_upload(other, mount=digest_of(b"nowhere"), **{"from": repository}), 202)


def test_what_is_deleted_is_gone_and_can_be_pushed_again(client: V2Client, repository: str) -> None:
    image = make_image(5)
    client.push_image(repository, "v1", image)
    client.push_image(f"{repository}/other", "v1", image)
    expect(client.http.delete(f"/v2/{repository}/manifests/{image.manifest.digest}"), 202)
    for blob in image.blobs:
        expect(client.http.delete(f"/v2/{repository}/blobs/{blob.digest}"), 202)
    for reference in ("v1", image.manifest.digest):
        assert error_codes(expect(client.get_manifest(repository, reference), 404)) == ["MANIFEST_UNKNOWN"]
    for blob in image.blobs:
        assert not client.has_blob(repository, blob.digest)
    client.assert_holds(f"{repository}/other", "v1", image)
    client.push_image(repository, "v1", image)
    client.assert_holds(repository, "v1", image)


def test_tags_and_repositories_are_listed_in_pages(client: V2Client, repository: str) -> None:
    image = make_image(6)
    tags = sorted(["a", "a-b", "a.b", "ab", "b", "latest", "v1", "v10", "v2"])
    for tag in tags:
        client.push_image(repository, tag, image)
    for name in ("a", "a-b", "a/b", "ab"):
        client.push_image(f"{repository}/{name}", "latest", image)
    expect(client.http.delete(f"/v2/{repository}/manifests/ab"), 202)
    tags.remove("ab")
    assert pages(client, f"/v2/{repository}/tags/list?n=2", "tags") == tags
    listed = pages(client, "/v2/_catalog?n=3", "repositories")
    assert listed == sorted(listed, key=lambda name: name.split("/"))
    assert {name for name in listed if name.startswith(repository)} == {
        repository,
        *(f"{repository}/{name}" for name in ("a", "a-b", "a/b", "ab")),
    }


def pages(client: V2Client, url: str, key: str) -> list[str]:
    """All that the pages from `url` on list."""
    listed: list[str] = []
    for _ in range(100):
        answer = expect(client.http.get(url), 200)
        listed += json.loads(answer.content)[key]
        if "next" not in answer.links:
            return listed
        url = answer.links["next"]["url"]
    raise AssertionError("the pages do not end")


def test_uploads_that_nobody_goes_on_with_are_purged(
    registry: Registry, client: V2Client, repository: str
) -> None:
    digest = client.push_blob(repository, LARGE)
    left = []
    for size in (0, 100, 6 << 20):
        answer = expect(client.start_upload(repository), 202)
        left.append(expect(client.http.patch(client.location(answer), content=LARGE[:size]), 202))
    command = [MOORAGE, "uploads", "purge", "--age", "0s"]
    done = subprocess.run(command, env=registry.up.env, capture_output=True, text=True, timeout=120)
    if not registry.is_lasting:
        assert done.returncode == 2
        assert "only the blob service itself can reach its memory" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "uploads found" in done.stdout
    for answer in left:
        assert error_codes(expect(client.http.get(client.location(answer)), 404)) == ["BLOB_UPLOAD_UNKNOWN"]
    assert client.get_blob(repository, digest) == LARGE
    again = subprocess.run(command, env=registry.up.env, capture_output=True, text=True, timeout=120)
    assert again.stdout.startswith("0 uploads found, 0 purged"), again.stdout + again.stderr


def test_another_registry_on_the_same_storage_serves_what_the_first_one_stored(
    registry: Registry, client: V2Client, repository: str, tmp_path: Path
) -> None:
    image = make_image(7, (2000, 6_000_000))
    client.push_image(repository, "v1", image)
    if not registry.is_lasting:
        # Of this storage there is only the first registry's: the other one has none of it.
        with running_up(tmp_path / "other", storage=registry.storage) as other, V2Client(other.url) as there:
            expect(there.get_manifest(repository, "v1"), 404)
        return
    with running_up(tmp_path / "other", storage=registry.storage) as other, V2Client(other.url) as there:
        there.http.follow_redirects = True
        there.assert_holds(repository, "v1", image)
        later = make_image(8)
        there.push_image(repository, "v2", later)
        client.assert_holds(repository, "v2", later)
