"""Blobs over HTTP."""

from __future__ import annotations

import hashlib
import os
from email import message_from_bytes, policy

import pytest

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)


@pytest.fixture(scope="module", params=["64MiB", "0"], ids=["kept in memory", "read each time"])
def registry(start_registry, request):
    """A registry that keeps small blobs in memory, and one that keeps nothing."""
    return start_registry(services={"gateway": {"memory": request.param}})


@pytest.fixture
def path(registry, repository: str) -> str:
    """The path of a blob with CONTENT."""
    return f"/v2/{repository}/blobs/{registry.push_blob(repository, CONTENT)}"


def test_a_blob_is_served_with_the_headers_of_immutable_content(registry, path: str) -> None:
    answer = registry.client.get(path)
    digest = path.rpartition("/")[2]
    assert answer.content == CONTENT
    expected = {
        "content-length": str(SIZE),
        "content-type": "application/octet-stream",
        "docker-content-digest": digest,
        "etag": f'"{digest}"',
        "cache-control": "max-age=31536000",
        "accept-ranges": "bytes",
    }
    assert expected.items() <= dict(answer.headers).items()


def test_head_has_the_headers_of_get_and_no_body(registry, path: str) -> None:
    got, head = registry.client.get(path), registry.client.head(path)
    assert head.content == b""
    assert {**got.headers, "date": ""} == {**head.headers, "date": ""}


def test_a_large_blob_arrives_whole(registry, repository: str) -> None:
    content = os.urandom(5_000_001)
    digest = registry.push_blob(repository, content)
    assert registry.client.get(f"/v2/{repository}/blobs/{digest}").content == content


def test_the_empty_blob_is_a_blob(registry, repository: str) -> None:
    digest = registry.push_blob(repository, b"")
    path = f"/v2/{repository}/blobs/{digest}"
    answer = registry.client.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert registry.client.get(path, headers={"Range": "bytes=0-10"}).status_code == 200


def test_a_blob_pushed_by_sha512_is_served_under_both_digests(registry, repository: str) -> None:
    digest = registry.push_blob(repository, b"content of two digests", "sha512")
    canonical = f"sha256:{hashlib.sha256(b'content of two digests').hexdigest()}"
    for each in (digest, canonical):
        answer = registry.client.get(f"/v2/{repository}/blobs/{each}")
        assert answer.content == b"content of two digests"
        assert (answer.headers["docker-content-digest"], answer.headers["etag"]) == (each, f'"{each}"')


def test_a_blob_of_another_repository_is_unknown(registry, path: str, repository: str) -> None:
    other = path.replace(repository, f"{repository}/other")
    answer = registry.client.get(other)
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "BLOB_UNKNOWN"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("0-0", 0, 0),
        ("100-199", 100, 199),
        ("10000-", 10000, SIZE - 1),
        ("-5", SIZE - 5, SIZE - 1),
        ("5-99999", 5, SIZE - 1),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_range_is_served(registry, path: str, method: str, asked: str, first: int, last: int) -> None:
    answer = registry.client.request(method, path, headers={"Range": f"bytes={asked}"})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.content == (CONTENT[first : last + 1] if method == "GET" else b"")


def test_several_ranges_are_served_as_multipart(registry, path: str) -> None:
    answer = registry.client.get(path, headers={"Range": "bytes=0-3, 1000-1999, -2"})
    assert answer.status_code == 206
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.content, policy=policy.HTTP)
    parts = {part["Content-Range"]: part.get_payload(decode=True) for part in message.iter_parts()}
    assert parts == {
        f"bytes 0-3/{SIZE}": CONTENT[:4],
        f"bytes 1000-1999/{SIZE}": CONTENT[1000:2000],
        f"bytes {SIZE - 2}-{SIZE - 1}/{SIZE}": CONTENT[-2:],
    }
    head_answer = registry.client.head(path, headers={"Range": "bytes=0-3, 1000-1999, -2"})
    assert head_answer.headers["content-length"] == str(len(answer.content))


def test_ranges_larger_than_the_blob_are_ignored(registry, path: str) -> None:
    answer = registry.client.get(path, headers={"Range": "bytes=0-,0-,0-"})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=x", "bytes=9-3", "bytes=-0"])
def test_a_range_that_is_not_there_is_refused_with_the_size(registry, path: str, asked: str) -> None:
    answer = registry.client.get(path, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.json()["errors"][0]["code"] == "RANGE_INVALID"


def test_if_range_of_another_blob_serves_the_whole(registry, path: str) -> None:
    headers = {"Range": "bytes=0-3", "If-Range": f'"sha256:{"0" * 64}"'}
    assert registry.client.get(path, headers=headers).status_code == 200
    headers["If-Range"] = f'"{path.rpartition("/")[2]}"'
    assert registry.client.get(path, headers=headers).status_code == 206


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_are_answered(registry, path: str, method: str) -> None:
    etag = f'"{path.rpartition("/")[2]}"'

    def status(**headers: str) -> int:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = registry.client.request(method, path, headers=fields)
        assert not (answer.content and (method == "HEAD" or answer.status_code in (304, 412)))
        return answer.status_code

    assert status(If_None_Match=etag) == 304
    assert status(If_None_Match=etag, Range="bytes=0-1") == 304
    assert status(If_None_Match='"sha256:0"') == 200
    assert status(If_Match=etag) == 200
    assert status(If_Match='"sha256:0"') == 412


def test_deleting_a_blob_leaves_it_in_other_repositories(registry, path: str, repository: str) -> None:
    registry.push_blob(f"{repository}/other", CONTENT)
    assert registry.client.delete(path).status_code == 202
    assert registry.client.get(path).status_code == 404
    assert registry.client.delete(path).status_code == 404
    assert registry.client.get(path.replace(repository, f"{repository}/other")).content == CONTENT
