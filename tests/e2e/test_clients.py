"""Real clients push and pull: docker, podman, skopeo, curl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.client import V2Client, expect
from support.engine import DockerEngine, Podman, load_image, skopeo, skopeo_copy
from support.images import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_of,
    make_image,
    make_index,
    write_oci_layout,
)
from support.processes import required, run
from support.registry import Up


@pytest.mark.parametrize(("form", "media_type"), [("oci", OCI_MANIFEST), ("v2s2", DOCKER_MANIFEST)])
def test_skopeo_pushes_and_pulls_an_image_in_either_format(
    moorage: Up, client: V2Client, repository: str, tmp_path: Path, form: str, media_type: str
) -> None:
    image = make_image(1)
    layout = write_oci_layout(tmp_path / "source", {"one": image})
    remote = f"docker://{moorage.address}/{repository}:one"
    skopeo_copy(f"oci:{layout}:one", remote, "--format", form)
    answer = expect(client.get_manifest(repository, "one"), 200)
    assert answer.headers["content-type"] == media_type
    skopeo_copy(remote, f"oci:{tmp_path}/back:one")
    pulled = {path.read_bytes() for path in (tmp_path / "back/blobs/sha256").iterdir()}
    assert {layer.content for layer in image.layers} <= pulled


def test_skopeo_copies_a_multi_arch_index_with_all_its_images(
    moorage: Up, client: V2Client, repository: str, tmp_path: Path
) -> None:
    index = make_index(2)
    layout = write_oci_layout(tmp_path / "source", {"all": index})
    remote = f"docker://{moorage.address}/{repository}:all"
    skopeo_copy(f"oci:{layout}:all", remote, "--all", "--preserve-digests")
    answer = expect(client.get_manifest(repository, "all"), 200)
    assert (answer.headers["content-type"], answer.content) == (OCI_INDEX, index.manifest.content)
    skopeo_copy(remote, f"docker://{moorage.address}/{repository}/copy:all", "--all", "--preserve-digests")
    for child in index.children:
        client.assert_holds(f"{repository}/copy", child.manifest.digest, child)


def test_skopeo_lists_inspects_and_deletes(
    moorage: Up, client: V2Client, repository: str, tmp_path: Path
) -> None:
    client.push_image(repository, "v1", make_image(3))
    client.push_image(repository, "v2", make_image(4))
    remote = f"docker://{moorage.address}/{repository}"
    assert json.loads(skopeo("list-tags", "--tls-verify=false", remote))["Tags"] == ["v1", "v2"]
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"{remote}:v1"))
    assert inspected["Digest"] == make_image(3).manifest.digest
    skopeo("delete", "--tls-verify=false", f"{remote}:v1")
    assert json.loads(skopeo("list-tags", "--tls-verify=false", remote))["Tags"] == ["v2"]
    expect(client.get_manifest(repository, make_image(3).manifest.digest), 404)


def test_docker_pushes_pulls_and_mounts(
    moorage: Up, client: V2Client, engine: DockerEngine, repository: str, tmp_path: Path
) -> None:
    name = f"{moorage.address}/{repository}:one"
    load_image(engine, make_image(5, (3000, 200_000)), tmp_path, name)
    pushed = engine("push", name)
    digest = next(word for word in pushed.split() if word.startswith("sha256:"))
    assert expect(client.get_manifest(repository, "one"), 200).headers["docker-content-digest"] == digest

    # docker mounts a layer that it knows to be in another repository of the registry
    other = f"{moorage.address}/{repository}-other:one"
    engine("tag", name, other)
    assert "Mounted from" in engine("push", other)

    engine("rmi", "-f", name, other)
    assert "Downloaded newer image" in engine("pull", name)
    assert digest in engine("inspect", name)
    engine("pull", f"{moorage.address}/{repository}-other@{digest}")
    engine("rmi", "-f", name)


def test_docker_pulls_its_platform_out_of_a_multi_arch_index(
    moorage: Up, client: V2Client, engine: DockerEngine, repository: str
) -> None:
    client.push_index(repository, "multi", make_index(6, docker=True))
    name = f"{moorage.address}/{repository}:multi"
    engine("pull", name)
    assert json.loads(engine("inspect", name))[0]["Architecture"] == "amd64"
    engine("rmi", "-f", name)


def test_podman_pushes_and_pulls(
    moorage: Up, client: V2Client, podman: Podman, repository: str, tmp_path: Path
) -> None:
    image = make_image(7)
    layout = write_oci_layout(tmp_path / "source", {"one": image})
    name = f"{moorage.address}/{repository}:one"
    image_id = podman("pull", "--quiet", f"oci:{layout}:one").strip().splitlines()[-1]
    podman("push", "--quiet", "--tls-verify=false", image_id, name)
    expect(client.get_manifest(repository, "one"), 200)
    podman("rmi", "-f", image_id)
    podman("pull", "--quiet", "--tls-verify=false", name)
    assert digest_of(image.config.content).removeprefix("sha256:") in podman("inspect", name)
    podman("rmi", "-f", name)


def test_curl_pushes_a_blob_in_two_requests_and_reads_a_range_of_it(
    moorage: Up, repository: str, tmp_path: Path
) -> None:
    curl = required("curl")
    content = tmp_path / "blob"
    content.write_bytes(bytes(range(256)) * 400)
    digest = digest_of(content.read_bytes())
    location = run(
        curl, "-fsS", "-o", "/dev/null", "-X", "POST", "-w", "%header{location}",
        f"{moorage.url}/v2/{repository}/blobs/uploads/",
    )  # fmt: skip
    status = run(
        curl, "-fsS", "-o", "/dev/null", "-w", "%{http_code}", "-T", content,
        "-H", "Content-Type: application/octet-stream", f"{location}&digest={digest}",
    )  # fmt: skip
    assert status == "201"
    part = tmp_path / "part"
    run(curl, "-fsS", "-r", "1000-1999", "-o", part, f"{moorage.url}/v2/{repository}/blobs/{digest}")
    assert part.read_bytes() == content.read_bytes()[1000:2000]
