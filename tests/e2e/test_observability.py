"""One push, looked for in all that tells of it: the logs of all services, a trace, the debug listeners."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from moorage import build
from support.client import V2Client, expect
from support.images import make_image
from support.otlp import Collector, Span, http_collector
from support.processes import free_port, wait_until
from support.registry import Up, running_up
from support.subscriber import Subscriber, subscribing

SERVICES = ("gateway", "metadata", "blob", "notifier")


@dataclass
class Watched:
    """A registry that tells everything, and who is told."""

    up: Up
    collector: Collector
    subscriber: Subscriber
    debug: dict[str, str]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far; lines of the access log, and what is being written, are left out."""
        found = []
        for line in self.up.process.log.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                found.append(json.loads(line))
        return found


@pytest.fixture(scope="module")
def subscriber() -> Iterator[Subscriber]:
    """A webhook's subscriber, on an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = subscribing()
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(20)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, subscriber: Subscriber) -> Iterator[Watched]:
    endpoint = {"name": "hook", "url": subscriber.url, "allowprivate": True}
    debug = {name: f"127.0.0.1:{free_port()}" for name in SERVICES}
    with http_collector() as collector:
        env = {
            "REGISTRY_LOG_LEVEL": "debug",
            "REGISTRY_LOG_FORMATTER": "json",
            "REGISTRY_HTTP_WORKERS": "2",
            "REGISTRY_SERVICES_BLOB_WORKERS": "1",
            "REGISTRY_NOTIFICATIONS_ENDPOINTS": json.dumps([endpoint]),
            "REGISTRY_HTTP_DEBUG_ADDR": debug["gateway"],
            "REGISTRY_HTTP_DEBUG_PROMETHEUS": "{enabled: true, path: /numbers}",
            **{
                f"REGISTRY_SERVICES_{name.upper()}_DEBUGADDR": address
                for name, address in debug.items()
                if name != "gateway"
            },
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with running_up(tmp_path_factory.mktemp("watched"), env) as up:
            yield Watched(up, collector, subscriber, debug)


@dataclass(frozen=True)
class Push:
    """One push of a manifest, as its client knows it."""

    request_id: str
    trace_id: str
    repository: str


@pytest.fixture(scope="module")
def push(watched: Watched) -> Push:
    """A manifest that is pushed with an id and a trace of the client's."""
    made = Push(f"client-{uuid.uuid4().hex}", secrets.token_hex(16), "team/watched")
    image = make_image(1, (2000,))
    with V2Client(watched.up.url) as client:
        for blob in image.blobs:
            client.push_blob(made.repository, blob.content)
        client.http.headers["X-Request-Id"] = made.request_id
        client.http.headers["traceparent"] = f"00-{made.trace_id}-{secrets.token_hex(8)}-01"
        expect(client.put_manifest(made.repository, "one", image.manifest), 201)
    return made


def test_one_id_finds_a_push_in_the_logs_of_all_services_and_in_its_event(
    watched: Watched, push: Push
) -> None:
    def told() -> set[str]:
        return {line["component"] for line in watched.lines if line.get("http.request.id") == push.request_id}

    wait_until(
        lambda: told() == set(SERVICES), timeout=30, what=f"all services tell of it, not only {told()}"
    )
    (event,) = [
        event
        for request in watched.subscriber.requests
        for event in request.events
        if event["request"]["id"] == push.request_id
    ]
    assert event["target"]["repository"] == push.repository
    sent = [line for line in watched.lines if line.get("event.id") == event["id"]]
    assert [(line["component"], line["endpoint"], line["outcome"]) for line in sent] == [
        ("notifier", "hook", "200 OK")
    ]


def test_the_lines_of_a_request_have_distribution_s_fields(watched: Watched, push: Push) -> None:
    def completed() -> list[dict[str, Any]]:
        return [
            line
            for line in watched.lines
            if line["msg"] == "response completed" and line.get("http.request.id") == push.request_id
        ]

    (line,) = wait_until(completed, timeout=20, what="the request is over")
    assert line["http.request.method"] == "PUT"
    assert line["http.request.uri"] == f"/v2/{push.repository}/manifests/one"
    assert line["http.request.host"] == watched.up.address
    assert line["http.request.remoteaddr"] == "127.0.0.1"
    assert line["http.request.useragent"].startswith("python-httpx/")
    assert line["http.request.contenttype"].startswith("application/vnd.")
    assert (line["vars.name"], line["vars.reference"]) == (push.repository, "one")
    assert (line["http.response.status"], line["http.response.written"]) == (201, 0)
    assert re.fullmatch(r"(\d+m)?[\d.]+(s|ms|µs)", line["http.response.duration"])
    assert line["trace_id"] == push.trace_id
    assert line["version"] == build.version()


def test_a_push_is_one_trace_across_the_services(watched: Watched, push: Push) -> None:
    def services() -> set[str]:
        return {span.service for span in watched.collector.of_trace(push.trace_id)}

    everyone = {f"moorage-{name}" for name in SERVICES}
    wait_until(lambda: services() == everyone, timeout=30, what="spans of all services")

    def incomplete() -> list[Span]:
        spans = watched.collector.of_trace(push.trace_id)
        known = {span.span_id for span in spans}
        return [
            span
            for span in spans
            if span.parent_id not in known and span.name != "PUT /v2/{name}/manifests/{reference}"
        ]

    wait_until(lambda: not incomplete(), timeout=20, what="each span has its parent")
    spans = watched.collector.of_trace(push.trace_id)
    (root,) = [span for span in spans if span.name == "PUT /v2/{name}/manifests/{reference}"]
    assert root.attributes["http.response.status_code"] == 201
    (delivery,) = [span for span in spans if span.service == "moorage-notifier"]
    assert (delivery.name, delivery.parent_id) == ("deliver", root.span_id)
    assert {"moorage.v1.Metadata/PutManifest"} <= {
        span.name for span in spans if span.service == "moorage-metadata"
    }
    assert any(span.name.startswith("filesystem.") for span in spans)
    assert [span for span in spans if span.failed] == []


def test_a_process_has_one_id_in_logs_events_metrics_and_traces(watched: Watched, push: Push) -> None:
    in_logs = {
        line["instance.id"]
        for line in watched.lines
        if line["component"] == "gateway" and line.get("http.request.id") == push.request_id
    }
    in_events = {
        event["source"]["instanceID"]
        for request in watched.subscriber.requests
        for event in request.events
        if event["request"]["id"] == push.request_id
    }
    wait_until(
        lambda: any(span.service == "moorage-gateway" for span in watched.collector.of_trace(push.trace_id)),
        timeout=20,
        what="the gateway's spans",
    )
    in_traces = {
        span.resource["service.instance.id"]
        for span in watched.collector.of_trace(push.trace_id)
        if span.service == "moorage-gateway"
    }
    assert len(in_logs) == 1
    assert in_logs == in_events == in_traces

    def in_metrics() -> set[str]:
        text = httpx.get(f"http://{watched.debug['gateway']}/numbers", timeout=20).text
        return set(re.findall(r'moorage_build_info{.*instance_id="([^"]+)"', text))

    wait_until(lambda: len(in_metrics()) == 2, timeout=20, what="both workers are counted")
    assert in_logs < in_metrics()


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_the_same_debug_listener(watched: Watched, push: Push, name: str) -> None:
    with httpx.Client(base_url=f"http://{watched.debug[name]}", timeout=20) as debug:
        health = debug.get("/debug/health")
        assert (health.status_code, health.json()) == (200, {})
        assert debug.get("/debug/alive").status_code == 200
        text = debug.get("/numbers").text
        version = re.search(rf'moorage_build_info{{component="{name}".*version="([^"]+)"', text)
        assert version is not None, text[:2000]
        assert build.version().startswith(version[1])
        assert debug.get("/metrics").status_code == 404
        assert debug.get("/debug/vars").json()["cmdline"][-3:][0] == name
        assert "_dispatch" in debug.get("/debug/pprof/tasks").text or name != "notifier"
        assert debug.get("/debug/pprof/profile?seconds=0.1&format=speedscope").json()["profiles"]


def test_the_notifier_shows_its_endpoints_as_distribution_does(watched: Watched, push: Push) -> None:
    variables = httpx.get(f"http://{watched.debug['notifier']}/debug/vars").json()
    (endpoint,) = variables["registry"]["notifications"]["endpoints"]
    assert endpoint["name"] == "hook"
    assert endpoint["Metrics"]["Successes"] >= 1


def test_nothing_was_said_twice_or_by_nobody(watched: Watched, push: Push) -> None:
    for line in watched.lines:
        assert line["component"] in {*SERVICES, "supervisor"}, line
        assert line["level"] in {"debug", "info", "warning", "error"}, line
        assert line["instance.id"]
