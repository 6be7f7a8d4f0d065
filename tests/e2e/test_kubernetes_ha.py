"""The overlay `ha` runs, with mutual TLS between the services: several of everything, over S3."""

from __future__ import annotations

import itertools
import secrets
import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support import forwarder
from support.ceph import S3Access
from support.client import expect
from support.cluster_operator import certificates_of_services, client_of, secrets_of_an_operator
from support.images import make_image
from support.manifests import customized, render
from support.nats import events_at, replicas_at
from support.pods import Cluster
from support.processes import Process, wait_until
from support.s3 import TestBucket

# What an operator may set. Clients do not reach the bucket, and a gateway is one process.
SETTINGS = """
REGISTRY_STORAGE_S3_BUCKET={bucket}
REGISTRY_STORAGE_S3_REGIONENDPOINT=http://{address}:443
REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true
REGISTRY_STORAGE_S3_SECURE=false
REGISTRY_STORAGE_REDIRECT_DISABLE=true
REGISTRY_HTTP_WORKERS=1
REGISTRY_NOTIFICATIONS_EVENTS_PUBLISH=true
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, s3: S3Access) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ha")
    bucket = TestBucket(s3, f"ha-{secrets.token_hex(6)}").create()
    given = secrets_of_an_operator() | certificates_of_services(folder / "certificates")
    given["moorage-s3"] = {"access-key": s3.access_key.encode(), "secret-key": s3.secret_key.encode()}
    cluster = Cluster(folder / "cluster", given)
    relay = None
    try:
        # The bucket is beyond the cluster, at the only port that the policy lets blob services use.
        port = str(urlsplit(s3.endpoint).port)
        relay = Process(
            [sys.executable, forwarder.__file__, "443", port, cluster.node], log=folder / "relay.log"
        )
        settings = SETTINGS.format(bucket=bucket.name, address=cluster.node)
        written = customized(folder, "ha", components=("services-tls",), settings=settings.lstrip())
        manifests = render(written)
        replicas = {
            each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
            for each in manifests.of_kind("HorizontalPodAutoscaler")
        }
        cluster.start(manifests, replicas)
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.stop()
        if relay is not None:
            relay.kill()


def test_an_upload_goes_on_through_every_gateway_and_is_pulled_through_each(
    cluster: Cluster, repository: str
) -> None:
    gateways = cluster.of("api-gateway")
    assert len(gateways) == len(cluster.of("blob-service")) == 3
    clients = [client_of(cluster, each) for each in gateways]
    image = make_image(51, (3_000_000,))
    (layer,) = [each for each in image.blobs if len(each.content) >= 3_000_000]
    location = httpx.URL(clients[0].location(expect(clients[0].start_upload(repository), 202)))
    pieces = [layer.content[start : start + 700_000] for start in range(0, len(layer.content), 700_000)]
    for client, piece in zip(itertools.cycle(clients), pieces, strict=False):
        location = location.copy_with(host=urlsplit(client.url).hostname)
        answer = expect(client.http.patch(location, content=piece), 202)
        location = httpx.URL(client.location(answer))
    last = clients[-1]
    url = location.copy_with(host=urlsplit(last.url).hostname).copy_merge_params({"digest": layer.digest})
    expect(last.http.put(url), 201)
    last.push_image(repository, "v1", image)
    for client in clients:
        client.assert_holds(repository, "v1", image)
        client.close()


def test_pods_are_replaced_without_a_failed_pull(cluster: Cluster, repository: str) -> None:
    image = make_image(52, (200_000, 2_000))
    with client_of(cluster, cluster.of("api-gateway")[0]) as client:
        client.push_image(repository, "v1", image)
    over = threading.Event()
    failures: list[str] = []
    pulls = 0

    def pull() -> None:
        nonlocal pulls
        for number in itertools.count():
            if over.is_set():
                return
            # As a Service does it: to one of those that are ready at the moment.
            ready = [pod for pod in cluster.of("api-gateway") if pod.ready and not pod.terminating]
            try:
                with client_of(cluster, ready[number % len(ready)]) as client:
                    client.assert_holds(repository, "v1", image)
            except (AssertionError, httpx.HTTPError) as error:
                failures.append(repr(error))
            pulls += 1

    puller = threading.Thread(target=pull)
    puller.start()
    try:
        for name in ("api-gateway", "blob-service"):
            cluster.replace(cluster.of(name)[0])
    finally:
        over.set()
        puller.join()
    assert pulls > 5
    assert failures == []


def test_services_take_calls_over_mutual_tls_only(cluster: Cluster) -> None:
    for name, port in (("blob-service", 5010), ("metadata-service", 5020), ("notifier", 5030)):
        pod = cluster.of(name)[0]
        with grpc.insecure_channel(f"{pod.address}:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.RpcError):
                stub.Check(health_pb2.HealthCheckRequest(), timeout=2)


def test_events_are_on_three_servers_and_one_may_be_lost(cluster: Cluster, repository: str) -> None:
    servers = cluster.of("nats")
    assert len(servers) == 3
    servers[0].first.suspend()
    try:
        with client_of(cluster, cluster.of("api-gateway")[1]) as client:
            client.push_image(repository, "v1", make_image(53, (2_000,)))
        password = cluster.secrets["moorage"]["nats-password"].decode()
        urls = [f"nats://moorage:{password}@{each.address}:4222" for each in servers[1:]]
        wait_until(
            lambda: [
                event
                for event in events_at(urls, timeout=90)
                if event.repository == repository and event.action == "push"
            ],
            timeout=90,
            what="the push is in the stream",
        )
        assert replicas_at(urls) == 3
    finally:
        servers[0].first.resume()


def test_notifiers_and_the_only_metadata_service_are_replaced(cluster: Cluster, repository: str) -> None:
    image = make_image(54, (2_000,))
    for name in ("notifier", "metadata-service"):
        cluster.replace(cluster.of(name)[0])
    cluster.wait_ready()
    with client_of(cluster, cluster.of("api-gateway")[0]) as client:
        wait_until(
            lambda: expect(client.get_manifest(repository, "v1"), 404, 503).status_code == 404,
            timeout=30,
            what="the gateway has found the new metadata service",
        )
        client.push_image(repository, "v1", image)
        client.assert_holds(repository, "v1", image)
