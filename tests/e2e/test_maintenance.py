"""Deletion, read-only registries and upload purging, as an operator sets them and a client meets them."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.client import V2Client, error_codes, expect
from support.images import DOCKER_MANIFEST, digest_of, make_image
from support.processes import wait_until
from support.registry import Up, running_up

EXAMPLE = Path(__file__).parents[2] / "docs/examples/maintenance.yml"
MOORAGE = Path(sys.executable).with_name("moorage")
REPOSITORY = "team/app"
IMAGE = make_image(40)
DIGEST = IMAGE.manifest.digest
BLOB = IMAGE.layers[0].digest

# Every route that changes something, and what the methods are that are left when it must not.
WRITES = [
    ("PUT", "manifests/v2", "GET, HEAD, OPTIONS"),
    ("DELETE", "manifests/v1", "GET, HEAD, OPTIONS"),
    ("DELETE", f"manifests/{DIGEST}", "GET, HEAD, OPTIONS"),
    ("DELETE", f"blobs/{BLOB}", "GET, HEAD, OPTIONS"),
    ("POST", "blobs/uploads/", "OPTIONS"),
    ("POST", f"blobs/uploads/?mount={BLOB}&from={REPOSITORY}", "OPTIONS"),
]
DELETIONS = [write for write in WRITES if write[0] == "DELETE"]


def started(folder: Path, root: Path, **settings: str) -> object:
    """The example of the documents over `root`, with some of its keys set by the environment."""
    environ = {"REGISTRY_CONFIGURATION_PATH": str(EXAMPLE), **settings}
    return running_up(folder, {**environ, "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root)})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage tree with an image, and with an upload that has some bytes."""
    folder = tmp_path_factory.mktemp("stored")
    with started(folder, folder / "registry") as up, V2Client(up.url) as client:
        client.push_image(REPOSITORY, "v1", IMAGE)
        answer = expect(client.start_upload(REPOSITORY), 202)
        expect(client.http.patch(client.location(answer), content=b"bytes"), 202)
    return folder / "registry"


@pytest.fixture(scope="module")
def read_only(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("read-only")
    with started(folder, root, REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED="true") as up:
        yield up


@pytest.fixture(scope="module")
def keeping(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("keeping")
    with started(folder, root, REGISTRY_STORAGE_DELETE_ENABLED="false") as up:
        yield up


def tree(root: Path) -> set[tuple[str, bytes]]:
    """Every file below a folder, with its content."""
    return {(str(path.relative_to(root)), path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def refuse(url: str, method: str, path: str, allow: str) -> None:
    content = IMAGE.manifest.content if method == "PUT" else None
    answer = httpx.request(
        method, f"{url}/v2/{REPOSITORY}/{path}", content=content, headers={"content-type": DOCKER_MANIFEST}
    )
    assert error_codes(expect(answer, 405)) == ["UNSUPPORTED"]
    assert answer.headers["allow"] == allow
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize(("method", "path", "allow"), WRITES)
def test_a_read_only_registry_refuses_whatever_changes_something(
    read_only: Up, root: Path, method: str, path: str, allow: str
) -> None:
    before = tree(root)
    refuse(read_only.url, method, path, allow)
    assert tree(root) == before


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_a_read_only_registry_goes_on_with_no_upload_that_was_begun_before(
    read_only: Up, root: Path, method: str
) -> None:
    before = tree(root)
    (upload,) = (root / f"docker/registry/v2/repositories/{REPOSITORY}/_uploads").iterdir()
    refuse(read_only.url, method, f"blobs/uploads/{upload.name}?digest={BLOB}", "GET, HEAD, OPTIONS")
    assert tree(root) == before


def test_a_read_only_registry_serves_what_it_has(read_only: Up) -> None:
    with V2Client(read_only.url) as client:
        client.assert_holds(REPOSITORY, "v1", IMAGE)
        assert expect(client.http.get(f"/v2/{REPOSITORY}/tags/list"), 200).json()["tags"] == ["v1"]
        assert expect(client.http.get("/v2/_catalog"), 200).json()["repositories"] == [REPOSITORY]


@pytest.mark.parametrize(("method", "path", "_allow"), DELETIONS)
def test_where_deletion_is_off_everything_stays(
    keeping: Up, root: Path, method: str, path: str, _allow: str
) -> None:
    before = tree(root)
    # A manifest can be put all the same, so that a refusal must not say it cannot.
    allow = "GET, HEAD, PUT, OPTIONS" if path.startswith("manifests/") else "GET, HEAD, OPTIONS"
    refuse(keeping.url, method, path, allow)
    assert tree(root) == before


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Up]:
    """The example as it stands, over an empty folder."""
    with started(tmp_path, tmp_path / "registry") as up:
        yield up


@pytest.fixture
def purge(registry: Up) -> Callable[..., str]:
    """Runs the operator's command beside the registry, with the same configuration."""

    def run(*arguments: str) -> str:
        command = [MOORAGE, "uploads", "purge", *arguments]
        done = subprocess.run(command, env=registry.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_an_operator_purges_uploads_of_a_registry_that_runs(registry: Up, purge) -> None:
    with V2Client(registry.url) as client:
        client.push_image(REPOSITORY, "v1", IMAGE)
        answer = expect(client.start_upload(REPOSITORY), 202)
        answer = expect(client.http.patch(client.location(answer), content=b"bytes"), 202)
        assert purge() == "1 uploads found, 0 purged, 0 in use, 0 failed"
        assert purge("--age", "0s", "--dry-run") == "1 uploads found, 1 would be purged, 0 in use, 0 failed"
        expect(client.http.get(client.location(answer)), 204)
        assert purge("--age", "0s") == "1 uploads found, 1 purged, 0 in use, 0 failed"
        for method in ("GET", "PATCH", "DELETE"):
            refused = expect(client.http.request(method, client.location(answer)), 404)
            assert error_codes(refused) == ["BLOB_UPLOAD_UNKNOWN"]
        client.assert_holds(REPOSITORY, "v1", IMAGE)


def test_an_upload_that_a_client_is_sending_is_not_purged(registry: Up, purge) -> None:
    content = random.Random(41).randbytes(8 << 20)
    half = len(content) // 2
    with V2Client(registry.url) as client:
        answer = expect(client.start_upload(REPOSITORY), 202)
        url = httpx.URL(client.location(answer))
        host, _, port = registry.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                f"PATCH {url.raw_path.decode()} HTTP/1.1\r\nHost: {registry.address}\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                + content[:half]
            )
            wait_until(
                lambda: expect(client.http.get(url), 204).headers["range"] != "0-0",
                timeout=20,
                what="some of it was stored",
            )
            assert purge("--age", "0s") == "1 uploads found, 0 purged, 1 in use, 0 failed"
            connection.sendall(content[half:])
            assert connection.recv(12) == b"HTTP/1.1 202"
        status = expect(client.http.get(url), 204)
        assert status.headers["range"] == f"0-{len(content) - 1}"
        digest = digest_of(content)
        expect(client.http.put(f"{client.location(status)}&digest={digest}"), 201)
        assert client.get_blob(REPOSITORY, digest) == content
