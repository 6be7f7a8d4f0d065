"""Answers from memory over HTTP: what needs no other service, and that nothing old is ever among it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import httpx
import pytest
from prometheus_client import REGISTRY

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = {"Accept": MANIFEST}
KINDS = ("manifest", "link", "tags", "content")


def count(name: str, kind: str) -> float:
    return REGISTRY.get_sample_value(f"moorage_gateway_memory_{name}_total", {"kind": kind}) or 0


def hits(action: Callable[[], object]) -> dict[str, float]:
    """How often what was found in memory in the course of an action."""
    before = {kind: count("hits", kind) for kind in KINDS}
    action()
    return {kind: found for kind in KINDS if (found := count("hits", kind) - before[kind])}


def get(client: httpx.Client, repository: str, reference: str, **headers: str) -> httpx.Response:
    return client.get(f"/v2/{repository}/manifests/{reference}", headers={**ACCEPT, **headers})


def eventually_hits(ask: Callable[[], object]) -> None:
    """Ask until the answer comes from memory: there is a lease, and no change is under way."""
    deadline = time.monotonic() + 15
    while not hits(ask):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def eventually_kept(registry, repository: str, reference: str) -> None:
    eventually_hits(lambda: get(registry.client, repository, reference))


@pytest.fixture(scope="module")
def leased(start_registry):
    """A registry whose leases outlast a pause of this machine."""
    return start_registry(services={"metadata": {"lease": "3s"}})


def test_what_was_asked_for_once_needs_no_other_service_any_more(start_registry, repository: str) -> None:
    registry = start_registry(services={"metadata": {"lease": "3s"}})
    config = b"a small configuration"
    blob = f"/v2/{repository}/blobs/{registry.push_blob(repository, config)}"
    digest, content = registry.push_image(repository, "v1")
    for reference in ("v1", digest):
        eventually_kept(registry, repository, reference)
    registry.client.get(blob)
    eventually_hits(lambda: registry.client.get(f"/v2/{repository}/tags/list"))
    with registry.without(registry.blob):
        assert registry.client.get(f"/v2/{repository}/tags/list").json()["tags"] == ["v1"]
        for reference in ("v1", digest):
            path = f"/v2/{repository}/manifests/{reference}"
            assert get(registry.client, repository, reference).content == content
            assert registry.client.head(path, headers=ACCEPT).headers["content-length"] == str(len(content))
            assert get(registry.client, repository, reference, **{"If-None-Match": digest}).status_code == 304
        assert registry.client.head(blob).headers["content-length"] == str(len(config))
        assert registry.client.get(blob).content == config
        assert registry.client.get(blob, headers={"Range": "bytes=2-6"}).content == config[2:7]
        several = registry.client.get(blob, headers={"Range": "bytes=0-0,-1"})
        assert (several.status_code, several.content.count(b"Content-Range: bytes ")) == (206, 2)


def test_a_list_of_tags_comes_from_memory_until_a_tag_comes_or_goes(leased, repository: str) -> None:
    def listed(query: str = "") -> list[str]:
        return leased.client.get(f"/v2/{repository}/tags/list{query}").json()["tags"]

    leased.push_image(repository, "v1")
    for query in ("", "?n=1"):
        eventually_hits(lambda query=query: listed(query))
        assert listed(query) == ["v1"]
    assert not hits(lambda: listed("?last=v1"))
    _, content = leased.push_image(repository, "v2")
    assert not hits(lambda: listed())
    assert (listed(), listed("?n=1"), listed("?last=v1")) == (["v1", "v2"], ["v1"], ["v2"])
    # What moves a tag may be what makes it: a list is asked for again.
    leased.put_manifest(repository, "v1", content)
    assert not hits(lambda: listed())
    leased.client.delete(f"/v2/{repository}/manifests/v1")
    assert listed() == ["v2"]
    eventually_hits(listed)
    assert listed() == ["v2"]


@pytest.mark.parametrize(
    ("method", "headers"), [("HEAD", {}), ("GET", {"If-None-Match": "*"}), ("HEAD", {"If-None-Match": "x"})]
)
def test_the_get_behind_a_look_at_the_manifest_finds_it_in_memory(
    leased, repository: str, method: str, headers: dict[str, str]
) -> None:
    eventually_kept(leased, repository, leased.push_image(repository, "v0")[0])
    _, content = leased.push_image(repository, "v1")
    path = f"/v2/{repository}/manifests/v1"
    assert not hits(lambda: leased.client.request(method, path, headers={**ACCEPT, **headers}))
    assert hits(lambda: get(leased.client, repository, "v1")) == {"manifest": 1}
    assert get(leased.client, repository, "v1").content == content


def test_the_order_and_the_case_of_accepted_types_make_no_difference(leased, repository: str) -> None:
    leased.push_image(repository, "v1")
    eventually_kept(leased, repository, "v1")
    path = f"/v2/{repository}/manifests/v1"

    def ask(*lines: str) -> int:
        headers = [("Accept", line) for line in lines]
        return leased.client.get(path, headers=headers).status_code

    ask(f"text/plain, {MANIFEST}")
    assert hits(lambda: ask(MANIFEST.upper(), "text/plain;q=0.1,text/plain")) == {"manifest": 1}
    # Many types, in fewer fields than a head may have.
    types = [f"x/{number:05}" for number in range(300)]
    other = [", ".join(types[first : first + 5]) for first in range(0, 300, 5)]
    assert ask(MANIFEST, *other) == 200
    assert hits(lambda: ask(*reversed(other), MANIFEST)) == {"manifest": 1}
    assert ask("text/plain") == 404


def test_a_blob_whose_bytes_are_in_memory_is_unknown_where_it_is_not_linked(leased, repository: str) -> None:
    path = f"/v2/{repository}/blobs/{leased.push_blob(repository, b'not for everybody')}"
    assert leased.client.get(path).status_code == 200
    assert hits(lambda: leased.client.get(path))["content"] == 1
    assert leased.client.get(path.replace(repository, f"{repository}/other")).status_code == 404


@pytest.mark.parametrize(("size", "kept"), [(64 << 10, True), ((64 << 10) + 1, False)])
def test_the_bytes_of_small_blobs_alone_are_kept(leased, repository: str, size: int, kept: bool) -> None:
    content = os.urandom(size)
    path = f"/v2/{repository}/blobs/{leased.push_blob(repository, content)}"
    assert leased.client.get(path).content == content
    found = hits(lambda: leased.client.get(path))
    assert ("content" in found) is kept
    assert leased.client.get(path).content == content


def test_a_tag_that_was_moved_through_one_gateway_is_never_seen_where_it_was_through_another(
    leased, repository: str
) -> None:
    with leased.second_gateway() as other:
        for _ in range(10):
            digest, content = leased.push_image(repository, "v1")
            for client in (other, leased.client, other):
                answer = get(client, repository, "v1")
                assert (answer.content, answer.headers["docker-content-digest"]) == (content, digest)


def test_what_was_deleted_through_one_gateway_is_gone_through_another(leased, repository: str) -> None:
    blob = f"/v2/{repository}/blobs/{leased.push_blob(repository, b'content')}"
    digest, _ = leased.push_image(repository, "v1")
    leased.push_image(repository, "v2")
    manifests = f"/v2/{repository}/manifests"
    paths = [f"{manifests}/v2", f"{manifests}/v1", f"{manifests}/{digest}", blob]

    def statuses(client: httpx.Client) -> list[int]:
        return [client.get(path, headers=ACCEPT).status_code for path in paths]

    def tags(client: httpx.Client) -> list[str]:
        return client.get(f"/v2/{repository}/tags/list").json()["tags"]

    with leased.second_gateway() as other:
        for number, path in enumerate(paths, 1):
            statuses(other)
            tags(other)
            assert leased.client.delete(path).status_code == 202
            expected = [404] * number + [200] * (len(paths) - number)
            assert statuses(other) == statuses(leased.client) == expected
            assert tags(other) == tags(leased.client) == ["v1", "v2"][: max(0, 2 - number)]


def test_a_gateway_whose_metadata_service_was_started_again_begins_with_nothing_and_keeps_again(
    start_registry, repository: str
) -> None:
    registry = start_registry()
    _, content = registry.push_image(repository, "v1")
    eventually_kept(registry, repository, "v1")
    with registry.without(registry.metadata):
        assert get(registry.client, repository, "v1").status_code == 503
    eventually_kept(registry, repository, "v1")
    assert get(registry.client, repository, "v1").content == content
    _, newer = registry.push_image(repository, "v1")
    assert get(registry.client, repository, "v1").content == newer


@pytest.mark.parametrize(
    ("services", "found"),
    [({"gateway": {"memory": 0}}, {}), ({"metadata": {"lease": 0}}, {"content": 2})],
    ids=["without a memory", "without leases"],
)
def test_memory_and_leases_can_be_switched_off(
    start_registry, repository: str, services: dict[str, object], found: dict[str, int]
) -> None:
    registry = start_registry(services=services)
    small = f"/v2/{repository}/blobs/{registry.push_blob(repository, b'content')}"
    _, content = registry.push_image(repository, "v1")

    def ask_for_everything() -> None:
        for _ in range(3):
            assert get(registry.client, repository, "v1").content == content
            assert registry.client.head(f"/v2/{repository}/manifests/v1", headers=ACCEPT).status_code == 200
            assert registry.client.get(small).content == b"content"

    assert hits(ask_for_everything) == found
