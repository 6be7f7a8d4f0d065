"""The manifests of deploy/kubernetes run, as processes with their commands, environment and volumes."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.client import expect
from support.cluster_operator import client_of, secrets_of_an_operator
from support.images import make_image
from support.manifests import SERVICES, customized, labels_of, name_of, render
from support.pods import Cluster, Pod, running_cluster
from support.processes import wait_until

WORKLOADS = (*SERVICES, "nats", "redis")

# Who connects to whom, on which port; nobody else to anybody.
CONNECTIONS = {
    ("api-gateway", "blob-service", 5010),
    ("api-gateway", "blob-service", 5011),
    ("api-gateway", "metadata-service", 5020),
    ("api-gateway", "nats", 4222),
    ("metadata-service", "blob-service", 5010),
    ("metadata-service", "redis", 6379),
    ("notifier", "nats", 4222),
}


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The minimal overlay, with events, which somebody with an endpoint has."""
    folder = tmp_path_factory.mktemp("minimal")
    settings = "REGISTRY_NOTIFICATIONS_EVENTS_PUBLISH=true\n"
    manifests = render(customized(folder, "minimal", settings=settings))
    with running_cluster(folder / "cluster", manifests, secrets_of_an_operator()) as cluster:
        yield cluster


@pytest.fixture
def gateway(minimal: Cluster) -> Pod:
    (pod,) = minimal.of("api-gateway")
    return pod


def test_what_was_pushed_is_pulled_by_who_has_an_account(
    minimal: Cluster, gateway: Pod, repository: str
) -> None:
    image = make_image(7, (300_000, 2_000))
    with client_of(minimal, gateway) as client:
        client.push_image(repository, "v1", image)
        client.assert_holds(repository, "v1", image)
        client.http.auth = None
        expect(client.get_manifest(repository, "v1"), 401)


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_probe_passes_as_it_is_declared(minimal: Cluster, workload: str, probe: str) -> None:
    (pod,) = minimal.of(workload)
    if probe in pod.container:
        wait_until(lambda: pod.passes(probe), timeout=30, what=f"the {probe} of {workload} passes")
    else:
        assert (workload, probe) in {("nats", "startupProbe"), ("redis", "startupProbe")}


@pytest.mark.parametrize("workload", SERVICES)
def test_a_service_is_nobody_on_a_root_that_it_cannot_write(minimal: Cluster, workload: str) -> None:
    (pod,) = minimal.of(workload)
    for process in pod.processes:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        )
        assert status["Uid"].split() == ["65532"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    assert pod.execute(["touch", "/anything", "/etc/moorage/anything"]) == 1
    assert pod.execute(["touch", "/tmp/something"]) == 0


@pytest.mark.parametrize("workload", WORKLOADS)
def test_what_it_needs_is_within_its_limit_of_memory(minimal: Cluster, workload: str) -> None:
    (pod,) = minimal.of(workload)
    limit = pod.container["resources"]["limits"]["memory"]
    assert pod.memory() < int(limit[:-2]) * {"Mi": 2**20, "Gi": 2**30}[limit[-2:]]


def test_nobody_reaches_what_no_policy_names(minimal: Cluster) -> None:
    pods = {name: minimal.of(name)[0] for name in WORKLOADS}
    ports = {name: [each["containerPort"] for each in pod.container["ports"]] for name, pod in pods.items()}
    tried = [
        (source, target, port)
        for source, target in itertools.permutations(WORKLOADS, 2)
        for port in ports[target]
        # Who comes from anywhere may come from a pod; what none may do, one needs not try as each.
        if (target, port) != ("api-gateway", 5000)
    ]
    with ThreadPoolExecutor(16) as executor:
        reached = executor.map(lambda each: pods[each[0]].reaches(pods[each[1]], each[2]), tried)
    assert {each for each, can in zip(tried, reached, strict=True) if can} == CONNECTIONS


def test_clients_reach_the_registry_and_prometheus_the_metrics(minimal: Cluster) -> None:
    tried = [(pod, port) for pod in minimal.pods for port in pod.container["ports"]]
    with ThreadPoolExecutor(16) as executor:
        for source, allowed in ((minimal.client, {"http"}), (minimal.prometheus, {"http", "debug"})):
            reached = executor.map(
                lambda each, source=source: each[0].accepts(each[1]["containerPort"], source=source), tried
            )
            for (pod, port), can in zip(tried, reached, strict=True):
                assert can is (port["name"] in allowed), f"{source} to {pod.name}, {port['name']}"


def test_all_four_services_have_metrics_where_the_pod_monitor_looks(minimal: Cluster) -> None:
    for name in SERVICES:
        (pod,) = minimal.of(name)
        (port,) = [each["containerPort"] for each in pod.container["ports"] if each["name"] == "debug"]
        transport = httpx.HTTPTransport(local_address=minimal.prometheus)
        with httpx.Client(transport=transport) as prometheus:
            answer = expect(prometheus.get(f"http://{pod.address}:{port}/metrics"), 200)
        assert "process_resident_memory_bytes" in answer.text


def test_who_cannot_work_for_the_want_of_another_is_not_ready_and_alive(minimal: Cluster) -> None:
    (blob,), (metadata,) = minimal.of("blob-service"), minimal.of("metadata-service")
    processes = blob.processes
    for process in processes:
        process.suspend()
    try:
        wait_until(lambda: not metadata.passes("readinessProbe"), timeout=60, what="it is not ready")
        assert metadata.passes("livenessProbe")
    finally:
        for process in processes:
            process.resume()
    minimal.wait_ready(blob, metadata)


def slowly(content: bytes, pieces: int, begun: threading.Event, ending: threading.Event) -> Iterator[bytes]:
    """Bytes that come until the pod has been told to end, and some after."""
    size = -(-len(content) // pieces)
    for number in range(pieces):
        yield content[number * size : (number + 1) * size]
        if number == pieces // 3:
            begun.set()
            assert ending.wait(120)
        time.sleep(0.02)


def test_clients_are_served_while_dns_does_not_answer(
    minimal: Cluster, gateway: Pod, repository: str
) -> None:
    image = make_image(9, (1_000_000, 2_000))
    with client_of(minimal, gateway) as client, minimal.dns_paused():
        # Until each thread that looks up names waits for an answer.
        time.sleep(15)
        # Resolvers give up later than this.
        client.http.timeout = httpx.Timeout(10)
        client.push_image(repository, "v1", image)
        client.assert_holds(repository, "v1", image)


def test_an_upload_outlasts_the_end_of_its_gateway_and_the_next_one_goes_on(
    minimal: Cluster, gateway: Pod, repository: str
) -> None:
    content = random.Random(1).randbytes(3_000_000)
    begun, ending = threading.Event(), threading.Event()

    def upload() -> httpx.URL:
        with client_of(minimal, gateway) as client:
            location = client.location(expect(client.start_upload(repository), 202))
            answer = expect(client.http.patch(location, content=slowly(content, 60, begun, ending)), 202)
            assert answer.headers["range"] == f"0-{len(content) - 1}"
            return httpx.URL(client.location(answer))

    def end() -> None:
        # The first process is told to end after the hook; by then nothing new is accepted.
        wait_until(lambda: not gateway.accepts(5000), timeout=60, what="the gateway takes no more clients")
        ending.set()

    with ThreadPoolExecutor(2) as executor:
        uploading = executor.submit(upload)
        assert begun.wait(60)
        ended = executor.submit(end)
        successor = minimal.replace(gateway)
        location = uploading.result()
        ended.result()
    assert successor.address != gateway.address
    image = make_image(11, (1_000,))
    with client_of(minimal, successor) as client:
        digest = image.blobs[0].digest
        path = location.copy_with(host=successor.address)
        answer = expect(client.http.patch(path, content=b"and more"), 202)
        cancelled = httpx.URL(client.location(answer))
        expect(client.http.delete(cancelled), 204)
        client.push_image(repository, "after", image)
        assert client.has_blob(repository, digest)


@pytest.mark.parametrize("workload", ["metadata-service", "blob-service", "notifier", "nats", "redis"])
def test_a_pod_ends_in_time_and_its_successor_takes_over_at_another_address(
    minimal: Cluster, gateway: Pod, repository: str, workload: str
) -> None:
    image, next_one = make_image(21, (5_000,)), make_image(22, (5_000,))
    with client_of(minimal, gateway) as client:
        client.push_image(repository, "before", image)
        (pod,) = minimal.of(workload)
        successor = minimal.replace(pod)
        assert successor.address != pod.address
        assert labels_of(successor.workload) == labels_of(pod.workload)
        minimal.wait_ready()

        def pushed() -> bool:
            answer = client.put_manifest(repository, "again", image.manifest)
            return expect(answer, 201, 503).status_code == 201

        wait_until(pushed, timeout=30, what=f"the gateway has found the new {name_of(pod.workload)}")
        client.push_image(repository, "after", next_one)
        for tag, each in (("before", image), ("after", next_one)):
            client.assert_holds(repository, tag, each)


def test_events_that_the_broker_has_not_taken_outlive_the_gateways_pod(
    minimal: Cluster, gateway: Pod, repository: str
) -> None:
    (nats,) = minimal.of("nats")
    nats.first.suspend()
    image = make_image(31, (3_000,))
    with client_of(minimal, gateway) as client:
        client.push_image(repository, "v1", image)
    # Killed, as when its node is lost.
    outbox = minimal.folder / "claim-state-api-gateway-0/outbox/state"
    assert outbox.read_bytes()[:8] != bytes(8)
    gateway.kill()
    minimal.pods.remove(gateway)
    nats.first.resume()
    minimal.wait_ready(nats)
    minimal.start_again(gateway)
    minimal.wait_ready()
    wait_until(lambda: outbox.read_bytes()[:8] == bytes(8), timeout=60, what="the events are published")
