"""The overlay `rados` runs, over a Ceph that its pods reach through the network policy alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ceph import Ceph
from support.client import expect
from support.cluster_operator import client_of, secrets_of_an_operator
from support.images import make_image
from support.manifests import customized, render
from support.pods import Cluster
from support.processes import wait_until

# A gateway is one process, and a pool that does not answer is given up soon.
SETTINGS = "REGISTRY_HTTP_WORKERS=1\nREGISTRY_STORAGE_RADOS_TIMEOUT=4s\n"


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Ceph]]:
    folder = tmp_path_factory.mktemp("rados")
    given = secrets_of_an_operator()
    cluster = Cluster(folder / "cluster", given)
    ceph = None
    try:
        # Beyond the cluster, on the ports that the policy lets blob services use.
        ceph = Ceph(address=cluster.node)
        given["moorage-ceph"] = ceph.client_files("/etc/ceph")
        cluster.start(render(customized(folder, "rados", settings=SETTINGS)))
        cluster.wait_ready()
        yield cluster, ceph
    finally:
        cluster.stop()
        if ceph is not None:
            ceph.stop()


def test_an_image_is_in_the_pool_and_outlives_the_blob_services(
    ceph: tuple[Cluster, Ceph], repository: str
) -> None:
    cluster, pool = ceph
    gateways = cluster.of("api-gateway")
    assert len(gateways) == len(cluster.of("blob-service")) == 2
    image = make_image(61, (9_000_000, 2_000))
    with client_of(cluster, gateways[0]) as client:
        client.push_image(repository, "v1", image)
    objects = pool.rados("ls").split()
    assert sum(name.startswith("blob:") for name in objects) > 4
    with client_of(cluster, gateways[1]) as client:
        client.assert_holds(repository, "v1", image)
        for blobs in cluster.of("blob-service"):
            cluster.replace(blobs)
            client.assert_holds(repository, "v1", image)


def test_without_its_osd_a_registry_is_not_ready_and_comes_back_by_itself(
    ceph: tuple[Cluster, Ceph], repository: str
) -> None:
    cluster, pool = ceph
    pods = cluster.of("blob-service")
    image = make_image(62, (2_000,))
    with client_of(cluster, cluster.of("api-gateway")[0]) as client:
        client.push_image(repository, "v1", image)
        pool.pause_osd()
        try:
            wait_until(
                lambda: not any(pod.passes("readinessProbe") for pod in pods),
                timeout=90,
                what="no blob service is ready",
            )
            assert all(pod.passes("livenessProbe") for pod in pods), "what is started again helps nobody"
        finally:
            pool.resume_osd()
        wait_until(pool.answers, timeout=240, what="the OSD stores objects again")
        cluster.wait_ready()
        wait_until(
            lambda: expect(client.get_manifest(repository, "v1"), 200, 503).status_code == 200,
            timeout=30,
            what="the gateway serves again",
        )
        client.assert_holds(repository, "v1", image)
