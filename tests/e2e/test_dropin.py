"""One storage tree, two registries: what Debian's docker-registry wrote, Moorage serves, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.client import V2Client, expect
from support.engine import skopeo_copy
from support.images import Index, digest_of, make_image, make_index, write_oci_layout
from support.registry import running_docker_registry, running_up

IMAGES = {
    "oci": make_image(20),
    "docker": make_image(21, docker=True),
    "index": make_index(22),
    "list": make_index(23, docker=True),
}


def push_all(client: V2Client, repository: str) -> None:
    for tag, item in IMAGES.items():
        if isinstance(item, Index):
            client.push_index(repository, tag, item)
        else:
            client.push_image(repository, tag, item)


def assert_all_served(client: V2Client, repository: str) -> None:
    # docker-registry 2.8.2 lists tags in no order
    assert sorted(client.http.get(f"/v2/{repository}/tags/list").json()["tags"]) == sorted(IMAGES)
    assert repository in client.http.get("/v2/_catalog").json()["repositories"]
    for tag, item in IMAGES.items():
        if not isinstance(item, Index):
            client.assert_holds(repository, tag, item)
            continue
        answer = expect(client.get_manifest(repository, tag), 200)
        assert answer.content == item.manifest.content
        for child in item.children:
            client.assert_holds(repository, child.manifest.digest, child)


def test_a_tree_written_by_docker_registry_is_served_digest_for_digest(tmp_path: Path) -> None:
    with (
        running_docker_registry(tmp_path / "registry", tmp_path / "peer") as peer,
        V2Client(peer.url) as client,
    ):
        push_all(client, "team/app")
        skopeo_copy(
            f"oci:{write_oci_layout(tmp_path / 'layout', {'one': make_image(24)})}:one",
            f"docker://{peer.address}/other:one",
        )
    with running_up(tmp_path) as up, V2Client(up.url) as client:
        assert_all_served(client, "team/app")
        skopeo_copy(f"docker://{up.address}/other:one", f"oci:{tmp_path}/back:one")
        # and the tree goes on: a further push, a delete
        client.push_image("team/app", "new", make_image(25))
        expect(client.http.delete("/v2/team/app/manifests/oci"), 202)


def test_a_tree_written_by_moorage_is_served_by_docker_registry(tmp_path: Path) -> None:
    with running_up(tmp_path) as up, V2Client(up.url) as client:
        push_all(client, "team/app")
    with (
        running_docker_registry(tmp_path / "registry", tmp_path / "peer") as peer,
        V2Client(peer.url) as client,
    ):
        assert_all_served(client, "team/app")
        skopeo_copy(f"docker://{peer.address}/team/app:oci", f"oci:{tmp_path}/back:oci")
        client.push_image("team/app", "from-peer", make_image(26))


@pytest.mark.parametrize("first", ["docker-registry", "moorage"])
def test_an_upload_started_on_one_registry_is_finished_on_the_other(tmp_path: Path, first: str) -> None:
    """Both share http.secret, so each accepts the other's `_state`."""
    content = make_image(27, (300_000,)).layers[0].content
    secret = {"REGISTRY_HTTP_SECRET": "one-secret-for-both"}
    with (
        running_up(tmp_path, secret) as up,
        running_docker_registry(up.root, tmp_path / "peer", secret) as peer,
    ):
        here, there = (peer.url, up.url) if first == "docker-registry" else (up.url, peer.url)
        with V2Client(here) as a, V2Client(there) as b:
            answer = expect(a.start_upload("team/app"), 202)
            answer = expect(a.http.patch(a.location(answer), content=content[:100_000]), 202)
            assert answer.headers["range"] == "0-99999"
            moved = a.location(answer).replace(here, there)
            answer = expect(b.http.patch(moved, content=content[100_000:]), 202)
            digest = digest_of(content)
            expect(b.http.put(f"{b.location(answer)}&digest={digest}"), 201)
            assert a.get_blob("team/app", digest) == content
