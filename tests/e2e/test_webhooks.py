"""Webhooks of a registry under `moorage up`: what is pushed arrives signed; what is not taken is seen."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import V2Client, expect
from support.commands import Command
from support.engine import skopeo_copy
from support.images import OCI_MANIFEST, make_image, write_oci_layout
from support.processes import free_port, wait_until
from support.registry import Up, running_up
from support.subscriber import Request, Subscriber, accepting, answer, subscribing_aside

SECRET = "whsec_" + base64.b64encode(b"a key that both sides have").decode()


@dataclass
class Hooked:
    """A registry, and who is told of it."""

    up: Up
    subscriber: Subscriber
    debug: str
    notifier_debug: str

    def events(self, *arguments: str) -> str:
        """Run `moorage events`, which finds the registry by its environment; what it prints."""
        command = Command(["events", *arguments], self.up.env)
        try:
            assert command.wait() == 0, command.out + command.err
            return command.out
        finally:
            command.kill()

    def endpoint(self) -> dict[str, Any]:
        """What is told of the endpoint."""
        [state] = json.loads(self.events("endpoints", "--json"))
        return state


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooked]:
    with subscribing_aside() as subscriber:
        debug, notifier_debug = (f"127.0.0.1:{free_port()}" for _ in range(2))
        endpoint = {
            "name": "ci",
            "url": f"{subscriber.url}?key=t0ps3cret",
            "headers": {"Authorization": ["Bearer t0ps3cret"]},
            "secrets": [SECRET],
            "allowprivate": True,
            "threshold": 2,
            "backoff": "200ms",
            "maxbackoff": "200ms",
            "maxattempts": 3,
            "timeout": "5s",
        }
        env = {
            "REGISTRY_NOTIFICATIONS_ENDPOINTS": json.dumps([endpoint]),
            "REGISTRY_HTTP_DEBUG_ADDR": debug,
            "REGISTRY_HTTP_WORKERS": "1",
            "REGISTRY_SERVICES_NOTIFIER_DEBUGADDR": notifier_debug,
        }
        with running_up(tmp_path_factory.mktemp("webhooks"), env) as up:
            yield Hooked(up, subscriber, f"http://{debug}", f"http://{notifier_debug}")


def told(subscriber: Subscriber, what: Callable[[dict[str, Any]], bool]) -> Request:
    """The first request with such an event, as soon as it has come."""

    def find() -> Request | None:
        return next((each for each in subscriber.requests if any(map(what, each.events))), None)

    return wait_until(find, timeout=30, what="the event arrives")


def verified(request: Request) -> bool:
    """As Standard Webhooks has a subscriber do it."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = b".".join(
        (request.headers["webhook-id"].encode(), request.headers["webhook-timestamp"].encode(), request.body)
    )
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(
        hmac.compare_digest(each, f"v1,{wanted}") for each in request.headers["webhook-signature"].split()
    )


def test_an_image_that_skopeo_pushes_arrives_signed(hooked: Hooked, tmp_path: Path) -> None:
    image = make_image(70)
    layout = write_oci_layout(tmp_path / "image", {"one": image})
    skopeo_copy(f"oci:{layout}:one", f"docker://{hooked.up.address}/team/app:one", "--format", "oci")
    request = told(hooked.subscriber, lambda event: event["target"].get("tag") == "one")
    assert verified(request)
    assert request.headers["content-type"] == "application/vnd.docker.distribution.events.v2+json"
    assert request.headers["authorization"] == "Bearer t0ps3cret"
    [event] = request.events
    assert request.headers["webhook-id"] == event["id"]
    assert (event["action"], event["target"]["repository"]) == ("push", "team/app")
    assert event["target"]["mediaType"] == OCI_MANIFEST
    assert event["target"]["url"].startswith(f"{hooked.up.url}/v2/team/app/manifests/sha256:")
    assert event["request"]["useragent"].startswith("skopeo/")
    for layer in image.layers:
        blob = told(
            hooked.subscriber, lambda event, layer=layer: event["target"].get("digest") == layer.digest
        )
        assert verified(blob)
    tail = hooked.events("tail", "--no-follow", "--json", "--action", "push")
    assert event in [json.loads(line) for line in tail.splitlines()]


def test_while_the_endpoint_refuses_the_registry_serves_and_says_that_it_is_degraded(hooked: Hooked) -> None:
    hooked.subscriber.behave = answer(503)
    with V2Client(hooked.up.url) as client:
        image = make_image(71)
        client.push_image("team/refused", "v1", image)
        wait_until(
            lambda: "webhooks" in httpx.get(f"{hooked.debug}/debug/health").json(),
            timeout=40,
            what="it is degraded",
        )
        assert httpx.get(f"{hooked.debug}/debug/health").status_code == 200
        assert httpx.get(f"{hooked.notifier_debug}/debug/health").status_code == 200
        expect(client.put_manifest("team/refused", "v2", image.manifest), 201)
    wait_until(
        lambda: hooked.endpoint()["dead_letters"] >= len(image.blobs) + 2,
        timeout=60,
        what="what was refused three times is given up",
    )
    letters = [json.loads(line) for line in hooked.events("dead-letters", "--json").splitlines()]
    assert {letter["endpoint"] for letter in letters} == {"ci"}
    assert all(letter["reason"].startswith("503") and letter["attempts"] == 3 for letter in letters)
    accepting(hooked.subscriber)
    hooked.events("replay", "--endpoint", "ci")
    wait_until(
        lambda: {each["event"]["id"] for each in letters} <= hooked.subscriber.accepted_ids,
        timeout=30,
        what="the dead letters are told",
    )
    assert hooked.events("dead-letters") == ""
    wait_until(
        lambda: "webhooks" not in httpx.get(f"{hooked.debug}/debug/health").json(),
        timeout=20,
        what="it is well again",
    )


def test_its_metrics_and_variables_are_the_reference_s_without_secrets(hooked: Hooked) -> None:
    before = len(hooked.subscriber.requests)
    with V2Client(hooked.up.url) as client:
        client.push_image("team/counted", "v1", make_image(72))
    told(hooked.subscriber, lambda event: event["target"]["repository"] == "team/counted")
    assert len(hooked.subscriber.requests) > before
    metrics = httpx.get(f"{hooked.notifier_debug}/metrics").text
    for name in (
        'registry_notifications_events_total{endpoint="ci",type="Events"}',
        'registry_notifications_events_total{endpoint="ci",type="Successes"}',
        'registry_notifications_pending_total{endpoint="ci"}',
        'registry_notifications_status_total{code="200 OK",endpoint="ci"}',
        'registry_notifications_dead_letters_total{endpoint="ci"}',
        'registry_notifications_breaker_open{endpoint="ci"}',
        'registry_notifications_delivery_latency_seconds_count{endpoint="ci"}',
    ):
        assert name in metrics
    answered = httpx.get(f"{hooked.notifier_debug}/debug/vars").text
    [shown] = json.loads(answered)["registry"]["notifications"]["endpoints"]
    assert shown["name"] == "ci"
    assert (shown["Timeout"], shown["Threshold"], shown["Backoff"]) == (5_000_000_000, 2, 200_000_000)
    assert shown["Metrics"]["Statuses"]["200 OK"] > 0
    assert shown["Metrics"]["Events"] >= shown["Metrics"]["Successes"] > 0
    log = hooked.up.process.log.read_text()
    for text in (answered, metrics, log, hooked.events("endpoints")):
        assert "t0ps3cret" not in text
        assert SECRET not in text
