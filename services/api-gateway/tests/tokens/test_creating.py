"""Who may only create tags, and tags that are immutable: through gateways, with real clients' requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def image(name: str) -> bytes:
    """A manifest of the empty configuration and no layers."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(EMPTY), "size": 2}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": [],
        "annotations": {"name": name},
    }
    return json.dumps(manifest).encode()


class Pusher:
    """Pushes to one repository with one token."""

    def __init__(self, http: httpx.Client, repository: str, headers: dict[str, str]) -> None:
        self.http = http
        self.repository = repository
        self.headers = headers

    def push_configuration(self) -> None:
        upload = self.http.post(f"/v2/{self.repository}/blobs/uploads/", headers=self.headers)
        assert upload.status_code == 202, upload.text
        url = httpx.URL(upload.headers["location"]).copy_merge_params({"digest": digest_of(EMPTY)})
        assert self.http.put(url, content=EMPTY, headers=self.headers).status_code == 201

    def put(self, reference: str, content: bytes, **query: Any) -> httpx.Response:
        return self.http.put(
            f"/v2/{self.repository}/manifests/{reference}",
            params=query,
            content=content,
            headers={**self.headers, "Content-Type": OCI_MANIFEST},
        )

    def get(self, reference: str) -> bytes:
        headers = {**self.headers, "Accept": OCI_MANIFEST}
        answer = self.http.get(f"/v2/{self.repository}/manifests/{reference}", headers=headers)
        assert answer.status_code == 200
        return answer.content


@pytest.fixture(scope="module")
def registry(start_registry: Callable[..., Any], server_settings: dict[str, Any]) -> Any:
    policy = {"tags": {"immutable": [{"repositories": ["team/**"], "tags": ["v*"]}]}}
    return start_registry(auth={"token": {"server": server_settings}}, policy=policy)


def pusher(client, user: str, repository: str) -> Pusher:
    pusher = Pusher(client.http, repository, client.bearer(user, f"repository:{repository}:pull,push,delete"))
    pusher.push_configuration()
    return pusher


@pytest.mark.parametrize("tag", ["1.0", "latest"])
def test_a_robot_that_may_create_sets_a_tag_and_does_not_move_it(client, tag: str) -> None:
    robot = pusher(client, "ci", f"release/{tag}")
    assert robot.put(tag, image("first")).status_code == 201
    assert robot.put(tag, image("first")).status_code == 201
    answer = robot.put(tag, image("second"))
    assert answer.status_code == 403
    (error,) = answer.json()["errors"]
    assert error["code"] == "DENIED"
    assert error["detail"]["tag"] == tag
    by_digest = robot.put(digest_of(image("second")), image("second"), tag=[tag, "new"])
    assert by_digest.status_code == 403
    assert robot.get(tag) == image("first")
    assert robot.put(digest_of(image("second")), image("second"), tag=["new"]).status_code == 201
    # And it deletes nothing.
    path = f"/v2/{robot.repository}/manifests/{tag}"
    assert client.http.delete(path, headers=robot.headers).status_code == 401
    # Who may push, does.
    assert pusher(client, "grace", robot.repository).put(tag, image("second")).status_code == 201


def test_an_immutable_tag_stays_whoever_comes(client) -> None:
    ada = pusher(client, "ada", "team/kept")
    assert ada.put("v1", image("first")).status_code == 201
    grace = pusher(client, "grace", "team/kept")
    for reference in ("v1", digest_of(image("first"))):
        answer = client.http.delete(f"/v2/team/kept/manifests/{reference}", headers=grace.headers)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")
    assert grace.put("v1", image("second")).status_code == 403
    assert grace.get("v1") == image("first")


@pytest.mark.parametrize(("user", "repository"), [("ci", "release/race"), ("ada", "team/race")])
def test_of_pushes_through_two_gateways_at_a_time_one_wins(
    client, registry, user: str, repository: str
) -> None:
    with registry.second_gateway() as other, ThreadPoolExecutor(8) as threads:
        first = pusher(client, user, repository)
        second = Pusher(other, repository, first.headers)
        for round_ in range(3):
            tag = f"v{round_}"
            contents = [image(f"{tag} of {number}") for number in range(8)]
            answers = list(
                threads.map(
                    lambda number, tag=tag, contents=contents: (first, second)[number % 2].put(
                        tag, contents[number]
                    ),
                    range(8),
                )
            )
            won = [number for number, answer in enumerate(answers) if answer.status_code == 201]
            assert len(won) == 1
            assert {answer.status_code for answer in answers} == {201, 403}
            for each in (first, second):
                assert each.get(tag) == contents[won[0]]
