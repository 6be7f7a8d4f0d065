"""Events while the broker is away, silent or full: nothing acknowledged is lost or overtaken."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import api_gateway.events.outbox
import api_gateway.events.pulls
from support.nats import NatsServer, running_nats, running_nats_cluster
from support.processes import free_port, wait_until

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = {"Accept": MANIFEST}


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def start(start_registry: Callable, nats_server: NatsServer, tmp_path: Path):
    """Starts a registry that publishes events and keeps them in this test's outbox."""

    def start(outbox: dict[str, object] | None = None, **settings: object):
        return start_registry(
            notifications={
                "events": {"publish": True},
                "outbox": {"path": str(tmp_path / "outbox"), **(outbox or {})},
            },
            services={"nats": {"url": nats_server.url}},
            **settings,
        )

    return start


def variants(registry, repository: str, number: int) -> list[bytes]:
    """So many manifests of one image."""
    manifest = json.loads(registry.image(repository))
    return [json.dumps({**manifest, "annotations": {"number": str(n)}}).encode() for n in range(number)]


def tags_pushed(nats_server: NatsServer, repository: str, number: int) -> list[str]:
    """The tags of the repository's events in the order of the stream, once there are so many events."""
    found = nats_server.events_of(repository, number, lambda event: "tag" in event.target, timeout=30)
    return [event.target["tag"] for event in found]


def connected(nats_server: NatsServer, registry, repository: str) -> None:
    """Wait until an event has gone through to the stream."""
    registry.push_blob(repository, b"anything")
    nats_server.events(1)


def test_pushes_go_on_while_the_broker_is_away_and_their_events_follow_in_order(
    start, nats_server: NatsServer, repository: str
) -> None:
    registry = start()
    connected(nats_server, registry, repository)
    manifests = variants(registry, repository, 30)
    for number, manifest in enumerate(manifests):
        if number == 10:
            nats_server.kill()
        if number == 20:
            nats_server.start()
        assert registry.put_manifest(repository, f"v{number}", manifest).status_code == 201
    assert tags_pushed(nats_server, repository, 30) == [f"v{number}" for number in range(30)]


def test_a_registry_that_starts_without_a_broker_takes_pushes(
    start, nats_server: NatsServer, repository: str
) -> None:
    nats_server.kill()
    registry = start()
    registry.push_image(repository, "v1")
    nats_server.start()
    assert tags_pushed(nats_server, repository, 1) == ["v1"]


def test_only_the_first_push_waits_for_a_broker_that_has_gone_silent(
    start, nats_server: NatsServer, repository: str
) -> None:
    registry = start()
    connected(nats_server, registry, repository)
    manifests = variants(registry, repository, 10)
    nats_server.pause()
    taken = []
    for number, manifest in enumerate(manifests):
        started = time.monotonic()
        assert registry.put_manifest(repository, f"v{number}", manifest).status_code == 201
        taken.append(time.monotonic() - started)
    nats_server.resume()
    # It may have got the first one before it fell silent; then it has it once.
    assert tags_pushed(nats_server, repository, 10) == [f"v{number}" for number in range(10)]
    assert taken[0] > 0.8
    assert sum(taken[1:]) < 0.8 * 9 / 2, taken


def test_concurrent_pushes_to_one_repository_come_in_the_order_in_which_the_tag_changed(
    start, nats_server: NatsServer, repository: str
) -> None:
    registry = start()
    connected(nats_server, registry, repository)
    manifests = variants(registry, repository, 40)

    def push(part: list[bytes]) -> None:
        with registry.new_client() as client:
            for manifest in part:
                url, headers = f"/v2/{repository}/manifests/latest", {"Content-Type": MANIFEST}
                assert client.put(url, content=manifest, headers=headers).status_code == 201

    pushers = [threading.Thread(target=push, args=(manifests[n::4],)) for n in range(4)]
    for pusher in pushers:
        pusher.start()
    time.sleep(0.05)
    nats_server.kill()
    time.sleep(0.1)
    nats_server.start()
    for pusher in pushers:
        pusher.join()
    tags_pushed(nats_server, repository, 40)
    last = [event for event in nats_server.events() if event.repository == repository][-1]
    current = registry.client.head(f"/v2/{repository}/manifests/latest", headers=ACCEPT)
    assert last.target["digest"] == current.headers["docker-content-digest"]


def test_pull_events_wait_for_the_broker_and_do_not_overtake_pushes(
    start, nats_server: NatsServer, repository: str
) -> None:
    registry = start()
    connected(nats_server, registry, repository)
    nats_server.kill()
    registry.push_image(repository, "v1")
    registry.client.get(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
    nats_server.start()
    wait_until(lambda: len(nats_server.events()) >= 5, timeout=20, what="all events are in the stream")
    assert [event.action for event in nats_server.events()][-2:] == ["push", "pull"]


def test_pull_events_beyond_the_bound_are_shed_and_counted(
    start, nats_server: NatsServer, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_gateway.events.pulls, "MOST_EVENTS", 5)
    debug = f"127.0.0.1:{free_port()}"
    registry = start(http={"debug": {"addr": debug, "prometheus": {"enabled": True}}})
    registry.push_image(repository, "v1")
    nats_server.kill()
    before = metric(debug, 'moorage_gateway_events_total{action="pull",outcome="shed"}')
    for _ in range(8):
        registry.client.get(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
    assert metric(debug, 'moorage_gateway_events_total{action="pull",outcome="shed"}') - before in (2, 3)


def metric(debug: str, name: str) -> float:
    for line in httpx.get(f"http://{debug}/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return 0.0


def test_what_a_gateway_leaves_in_its_outbox_the_next_one_publishes(
    start, start_registry, nats_server: NatsServer, repository: str
) -> None:
    registry = start()
    connected(nats_server, registry, repository)
    nats_server.kill()
    registry.push_image(repository, "v1")
    registry.client.get(f"/v2/{repository}/manifests/v1", headers=ACCEPT)
    with registry.without_gateway():
        nats_server.start()
    # The pull was waiting in memory when the gateway stopped.
    assert tags_pushed(nats_server, repository, 2) == ["v1", "v1"]


def test_a_full_outbox_refuses_changes_before_they_happen(
    start, nats_server: NatsServer, repository: str
) -> None:
    debug = f"127.0.0.1:{free_port()}"
    registry = start({"maxevents": 3}, http={"debug": {"addr": debug}})
    digest, content = registry.push_image(repository, "v1")
    nats_server.events(3)
    location = registry.start_upload(repository).headers["location"]
    nats_server.kill()
    path = f"/v2/{repository}"
    for number in range(3):
        assert registry.put_manifest(repository, f"full-{number}", content).status_code == 201
    before = registry.stored_paths()
    blob = "sha256:" + "0" * 64
    refused = [
        registry.put_manifest(repository, "v2", content),
        registry.client.delete(f"{path}/manifests/v1"),
        registry.client.delete(f"{path}/manifests/{digest}"),
        registry.client.delete(f"{path}/blobs/{json.loads(content)['config']['digest']}"),
        registry.client.put(location + f"&digest={blob}", content=b"a blob"),
        registry.client.post(f"{path}/blobs/uploads/", params={"mount": digest, "from": repository}),
    ]
    for answer in refused:
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        (error,) = answer.json()["errors"]
        assert error["code"] == "UNAVAILABLE"
        assert "the outbox holds 3 events" in error["detail"]["reason"]
    assert registry.stored_paths() == before
    assert registry.client.get(f"{path}/manifests/v1", headers=ACCEPT).status_code == 200
    health = wait_until(
        lambda: httpx.get(f"http://{debug}/debug/health").json().get("outbox"),
        timeout=10,
        what="it is degraded",
    )
    assert "3 events wait" in health
    assert "changes are refused" in health
    nats_server.start()
    wait_until(
        lambda: registry.put_manifest(repository, "v2", content).status_code == 201,
        timeout=20,
        what="changes are taken again",
    )
    wait_until(
        lambda: "outbox" not in httpx.get(f"http://{debug}/debug/health").json(),
        timeout=10,
        what="it is healthy",
    )


def test_a_full_outbox_is_a_matter_of_bytes_too(start, nats_server: NatsServer, repository: str) -> None:
    registry = start({"maxbytes": "1kB"})
    _, content = registry.push_image(repository, "v1")
    nats_server.events(3)
    nats_server.kill()
    statuses = [registry.put_manifest(repository, f"v{n}", content).status_code for n in range(4)]
    assert statuses == [201, 201, 503, 503]


def test_a_change_whose_event_cannot_be_kept_is_not_acknowledged(
    start, nats_server: NatsServer, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_gateway.events.outbox, "_BUSY", 0.1)
    registry = start()
    _, content = registry.push_image(repository, "v1")
    nats_server.events(3)
    nats_server.kill()
    other = sqlite3.connect(tmp_path / "outbox/events.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = registry.put_manifest(repository, "v2", content)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "UNAVAILABLE")
    # The next one is not even made.
    assert registry.put_manifest(repository, "v3", content).status_code == 503
    assert registry.client.get(f"/v2/{repository}/manifests/v3", headers=ACCEPT).status_code == 404
    other.execute("ROLLBACK")
    other.close()
    wait_until(
        lambda: registry.put_manifest(repository, "v2", content).status_code == 201,
        timeout=10,
        what="it is kept",
    )


def test_a_stream_that_is_full_and_refuses_sends_events_to_the_outbox(
    start, nats_server: NatsServer, repository: str
) -> None:
    import asyncio

    import nats
    from nats.js.api import DiscardPolicy, StreamConfig

    async def change(most: int) -> None:
        client = await nats.connect(nats_server.url)
        config = StreamConfig(
            "REGISTRY_EVENTS", subjects=["registry.events.>"], discard=DiscardPolicy.NEW, max_msgs=most
        )
        jetstream = client.jetstream()
        await (jetstream.add_stream(config) if most == 4 else jetstream.update_stream(config))
        await client.close()

    asyncio.run(change(4))
    registry = start()
    _, content = registry.push_image(repository, "v0")
    nats_server.events(3)
    for number in range(1, 4):
        assert registry.put_manifest(repository, f"v{number}", content).status_code == 201
    assert len(nats_server.events()) == 4
    asyncio.run(change(100))
    assert tags_pushed(nats_server, repository, 4) == [f"v{number}" for number in range(4)]


def test_in_a_cluster_each_event_is_on_as_many_servers_as_configured(
    start_registry: Callable, tmp_path: Path, repository: str
) -> None:
    with running_nats_cluster(tmp_path, 3) as servers:
        registry = start_registry(
            notifications={
                "events": {"publish": True},
                "outbox": {"path": str(tmp_path / "outbox")},
                "stream": {"replicas": 3},
            },
            services={"nats": {"url": servers[0].url}},
        )
        _, content = registry.push_image(repository, "v0")
        wait_until(lambda: len(servers[0].events()) == 3, timeout=30, what="the stream is there")
        assert servers[0].replicas() == 3
        # Two of three are enough, whichever it is that leads.
        servers[2].kill()
        for number in range(1, 6):
            assert registry.put_manifest(repository, f"v{number}", content).status_code == 201
        servers[2].start()
        assert tags_pushed(servers[0], repository, 6) == [f"v{number}" for number in range(6)]
