"""Each request that succeeds, as the event that it becomes in the stream of a real broker."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.accounts import write_accounts
from support.nats import NatsServer, StoredEvent, running_nats

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCTETS = "application/octet-stream"
ACCEPT = {"Accept": MANIFEST, "User-Agent": "docker/27.0 (linux)"}
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RFC3339_NANO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def start(start_registry: Callable, nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory):
    """Starts a registry that publishes events."""

    def start(events: dict[str, object] | None = None, **settings: object):
        notifications = {
            "events": {"publish": True, **(events or {})},
            "outbox": {"path": str(tmp_path_factory.mktemp("outbox"))},
        }
        return start_registry(
            notifications=notifications, services={"nats": {"url": nats_server.url}}, **settings
        )

    return start


@pytest.fixture(scope="module")
def registry(start):
    return start()


@pytest.fixture
def events(nats_server: NatsServer, repository: str) -> Callable[[int], list[StoredEvent]]:
    """The events of this test's repository beside pushes of blobs, when there are so many."""

    def get(number: int) -> list[StoredEvent]:
        return nats_server.events_of(
            repository,
            number,
            lambda event: (event.action, event.target.get("mediaType")) != ("push", OCTETS),
        )

    return get


def marked(registry, repository: str) -> None:
    """A pull whose event comes behind those of all pulls before."""
    assert registry.client.get(f"/v2/{repository}/manifests/mark", headers=ACCEPT).status_code == 200


def test_a_push_by_tag_has_every_field_of_the_reference(registry, repository: str, events) -> None:
    content = registry.image(repository)
    headers = {"Content-Type": MANIFEST, "User-Agent": "docker/27.0 (linux)", "X-Request-Id": "r-1"}
    answer = registry.client.put(f"/v2/{repository}/manifests/v1", content=content, headers=headers)
    digest = answer.headers["docker-content-digest"]
    (event,) = events(1)
    document = event.document
    assert list(document) == ["id", "timestamp", "action", "target", "request", "actor", "source"]
    assert UUID4.fullmatch(document["id"])
    assert RFC3339_NANO.fullmatch(document["timestamp"])
    assert document["action"] == "push"
    assert list(document["target"].items()) == [
        ("mediaType", MANIFEST),
        ("digest", digest),
        ("size", len(content)),
        ("length", len(content)),
        ("repository", repository),
        ("url", f"{registry.url}/v2/{repository}/manifests/{digest}"),
        ("tag", "v1"),
    ]
    assert list(document["request"]) == ["id", "addr", "host", "method", "useragent"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", document["request"]["addr"])
    assert document["request"] | {"id": "", "addr": ""} == {
        "id": "",
        "addr": "",
        "host": registry.host,
        "method": "PUT",
        "useragent": "docker/27.0 (linux)",
    }
    assert document["actor"] == {}
    assert document["source"]["addr"] == f"{socket.gethostname()}:0"  # what http.addr says
    assert UUID4.fullmatch(document["source"]["instanceID"])


def test_a_message_is_named_by_its_event(registry, repository: str, events) -> None:
    registry.push_image(repository, "v1")
    (event,) = events(1)
    assert event.subject == "registry.events.push." + repository.replace("/", ".")
    assert event.headers["Nats-Msg-Id"] == event.document["id"]
    assert event.headers["Content-Type"] == "application/json"


def test_a_push_by_digest_has_no_tag(registry, repository: str, events) -> None:
    content = registry.image(repository)
    digest = registry.put_manifest(repository, "v1", content).headers["docker-content-digest"]
    registry.put_manifest(repository, digest, content)
    by_tag, by_digest = events(2)
    assert by_tag.target["tag"] == "v1"
    assert by_digest.target == {key: value for key, value in by_tag.target.items() if key != "tag"}


def test_a_push_of_several_tags_is_an_event_for_each(registry, repository: str, events) -> None:
    content = registry.image(repository)
    digest = registry.put_manifest(repository, "a", content).headers["docker-content-digest"]
    answer = registry.client.put(
        f"/v2/{repository}/manifests/{digest}?tag=b&tag=c",
        content=content,
        headers={"Content-Type": MANIFEST},
    )
    assert answer.status_code == 201
    found = events(3)
    assert [event.target["tag"] for event in found] == ["a", "b", "c"]
    assert len({event.document["id"] for event in found}) == 3


@pytest.mark.parametrize("way", ["upload", "whole"])
def test_a_blob_push_is_an_event_whichever_way_it_came(
    registry, nats_server: NatsServer, repository: str, way: str
) -> None:
    content = uuid.uuid4().bytes
    if way == "upload":
        digest = registry.push_blob(repository, content)
    else:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        url = f"/v2/{repository}/blobs/uploads/?digest={digest}"
        assert registry.client.post(url, content=content).status_code == 201
    (event,) = nats_server.events_of(repository, 1)
    assert (event.action, event.document["request"]["method"]) == (
        "push",
        "PUT" if way == "upload" else "POST",
    )
    assert event.target == {
        "mediaType": OCTETS,
        "digest": digest,
        "size": 16,
        "length": 16,
        "repository": repository,
        "url": f"{registry.url}/v2/{repository}/blobs/{digest}",
    }


def test_a_mount_names_where_the_blob_is_from(registry, nats_server: NatsServer, repository: str) -> None:
    source = f"{repository}-source"
    digest = registry.push_blob(source, b"shared" + uuid.uuid4().bytes)
    answer = registry.client.post(
        f"/v2/{repository}/blobs/uploads/", params={"mount": digest, "from": source}
    )
    assert answer.status_code == 201
    (event,) = nats_server.events_of(repository, 1)
    assert event.action == "mount"
    assert event.target == {
        "mediaType": OCTETS,
        "digest": digest,
        "size": 22,
        "length": 22,
        "repository": repository,
        "fromRepository": source,
        "url": f"{registry.url}/v2/{repository}/blobs/{digest}",
    }


def test_a_delete_by_digest_tells_of_each_tag_that_went_with_it(registry, repository: str, events) -> None:
    digest, content = registry.push_image(repository, "a")
    registry.put_manifest(repository, "b", content)
    assert registry.client.delete(f"/v2/{repository}/manifests/{digest}").status_code == 202
    deletes = [event for event in events(5) if event.action == "delete"]
    assert [event.target for event in deletes] == [
        {"digest": digest, "repository": repository},
        {"repository": repository, "tag": "a"},
        {"repository": repository, "tag": "b"},
    ]


def test_a_delete_by_tag_is_one_event(registry, repository: str, events) -> None:
    registry.push_image(repository, "v1")
    assert registry.client.delete(f"/v2/{repository}/manifests/v1").status_code == 202
    assert events(2)[1].target == {"repository": repository, "tag": "v1"}


def test_a_delete_of_a_blob_has_its_digest(registry, repository: str, events) -> None:
    digest = registry.push_blob(repository, b"a blob")
    assert registry.client.delete(f"/v2/{repository}/blobs/{digest}").status_code == 202
    assert events(1)[0].target == {"digest": digest, "repository": repository}


def test_manifest_pulls_by_tag_by_digest_and_by_head_are_events(registry, repository: str, events) -> None:
    digest, _ = registry.push_image(repository, "v1")
    path = f"/v2/{repository}/manifests"
    registry.client.get(f"{path}/v1", headers=ACCEPT)
    registry.client.get(f"{path}/{digest}", headers=ACCEPT)
    registry.client.head(f"{path}/v1", headers=ACCEPT)
    push, *pulls = events(4)
    assert [event.action for event in pulls] == ["pull"] * 3
    assert [event.document["request"]["method"] for event in pulls] == ["GET", "GET", "HEAD"]
    without_tag = {key: value for key, value in push.target.items() if key != "tag"}
    assert [event.target for event in pulls] == [push.target, without_tag, push.target]


@pytest.mark.parametrize("size", [100, 400_000])
def test_a_blob_pull_is_an_event_however_it_is_answered(registry, repository: str, events, size: int) -> None:
    digest = registry.push_blob(repository, uuid.uuid4().bytes + bytes(size - 16))
    url = f"/v2/{repository}/blobs/{digest}"
    assert registry.client.get(url).status_code == 200
    assert registry.client.head(url).status_code == 200
    assert registry.client.get(url, headers={"Range": "bytes=5-9"}).status_code == 206
    assert registry.client.get(url, headers={"If-None-Match": f'"{digest}"'}).status_code == 304
    for event in events(4):
        assert event.action == "pull"
        assert event.target == {
            "mediaType": OCTETS,
            "digest": digest,
            "size": size,
            "length": size,
            "repository": repository,
            "url": f"{registry.url}{url}",
        }


def test_what_did_not_happen_is_no_event(registry, repository: str, events) -> None:
    digest, content = registry.push_image(repository, "mark")
    blob = registry.push_blob(repository, b"a blob")
    absent = "sha256:" + "0" * 64
    client, path = registry.client, f"/v2/{repository}"
    refused = [
        client.get(f"{path}/manifests/absent", headers=ACCEPT),
        client.get(f"{path}/manifests/{digest}", headers={**ACCEPT, "If-None-Match": f'"{digest}"'}),
        client.get(f"{path}/blobs/{absent}"),
        client.get(f"{path}/blobs/{blob}", headers={"If-Match": '"other"'}),
        client.get(f"{path}/blobs/{blob}", headers={"Range": "bytes=99-"}),
        registry.put_manifest(repository, "v2", content.replace(blob[:20].encode(), b"sha256:ffff") + b"}"),
        client.delete(f"{path}/manifests/absent"),
        client.delete(f"{path}/blobs/{absent}"),
        client.post(f"{path}/blobs/uploads/", params={"mount": absent, "from": "elsewhere"}),
        client.get(f"{path}/tags/list"),
    ]
    assert [answer.status_code for answer in refused] == [404, 304, 404, 412, 416, 400, 404, 404, 202, 200]
    marked(registry, repository)
    assert [event.action for event in events(2)] == ["push", "pull"]


def test_references_stand_in_events_of_manifests_when_they_are_asked_for(
    start, repository: str, events
) -> None:
    registry = start({"includereferences": True})
    _, content = registry.push_image(repository, "v1")
    registry.client.get(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
    manifest = json.loads(content)
    expected = [manifest["config"], *manifest["layers"]]
    assert [event.target["references"] for event in events(2)] == [expected, expected]


def test_a_pull_that_is_redirected_is_an_event(start, repository: str, events) -> None:
    options = {"baseurl": "https://files.example.org/"}
    registry = start(middleware={"storage": [{"name": "redirect", "options": options}]})
    digest = registry.push_blob(repository, b"elsewhere")
    url = f"/v2/{repository}/blobs/{digest}"
    assert registry.client.get(url).status_code == 307
    assert registry.client.head(url).status_code == 307
    found = events(2)
    assert [event.document["request"]["method"] for event in found] == ["GET", "HEAD"]
    for event in found:
        assert event.action == "pull"
        assert event.target["digest"] == digest
        assert event.target["url"] == f"{registry.url}{url}"


def test_who_did_it_is_the_actor(start, repository: str, events, tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "htpasswd", {"ada": "secret"})
    registry = start(auth={"htpasswd": {"realm": "of this test", "path": str(accounts)}})
    assert registry.client.get("/v2/").status_code == 401
    registry.client.auth = ("ada", "secret")
    digest, _ = registry.push_image(repository, "v1")
    registry.client.get(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
    registry.client.delete(f"/v2/{repository}/manifests/{digest}")
    found = events(4)
    assert [event.action for event in found] == ["push", "pull", "delete", "delete"]
    assert [event.document["actor"] for event in found] == [{"name": "ada"}] * 4


def test_an_address_that_a_trusted_proxy_forwards_has_no_port(start, nats_server, repository) -> None:
    registry = start(http={"trustedproxies": ["127.0.0.1/32"]})
    digest = registry.push_blob(repository, b"a blob")
    registry.client.delete(
        f"/v2/{repository}/blobs/{digest}",
        headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "r.example", "X-Request-Id": "r-7"},
    )
    _, event = nats_server.events_of(repository, 2)
    request = event.document["request"]
    assert (request["addr"], request["host"], request["id"]) == ("203.0.113.7", registry.host, "r-7")


def test_head_requests_can_be_left_out(start, repository: str, events) -> None:
    registry = start({"ignorehead": True})
    registry.push_image(repository, "v1")
    blob = registry.push_blob(repository, b"a blob")
    registry.client.head(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
    registry.client.head(f"/v2/{repository}/blobs/{blob}")
    registry.client.get(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
    assert [event.document["request"]["method"] for event in events(2)] == ["PUT", "GET"]


def test_nothing_is_published_and_nobody_connected_to_when_nobody_listens(
    start_registry, repository: str, tmp_path
) -> None:
    disabled = {"name": "a", "url": "https://hooks.example.com/", "disabled": True}
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.setblocking(False)
        registry = start_registry(
            notifications={"endpoints": [disabled], "outbox": {"path": str(tmp_path / "outbox")}},
            services={"nats": {"url": f"nats://127.0.0.1:{broker.getsockname()[1]}"}},
        )
        digest, _ = registry.push_image(repository, "v1")
        registry.client.get(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
        registry.client.delete(f"/v2/{repository}/manifests/{digest}")
        with pytest.raises(BlockingIOError):
            broker.accept()
    assert not (tmp_path / "outbox").exists()
