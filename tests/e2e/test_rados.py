"""A registry over a Ceph pool, as docs/examples/rados.yml starts it: pushes, pulls, and what goes wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from support.ceph import Ceph
from support.client import V2Client, expect
from support.images import digest_of, make_image
from support.processes import Process, free_port, wait_until
from support.registry import clean_environment

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "rados.yml"
MOORAGE = Path(sys.executable).with_name("moorage")
RANDOM = random.Random(5)
MIB = 1 << 20


class Registry:
    """`moorage up` with the example, to which the environment adds where this cluster is."""

    def __init__(self, folder: Path, cluster: Ceph) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._runtime = tempfile.TemporaryDirectory(prefix="moorage-test-")
        self.env = {
            **clean_environment(),
            "XDG_RUNTIME_DIR": self._runtime.name,
            "MOORAGE_DATA_DIR": str(folder / "data"),
            "REGISTRY_HTTP_ADDR": f"127.0.0.1:{self.port}",
            "REGISTRY_STORAGE_RADOS_CONFFILE": cluster.access.conffile,
            "REGISTRY_STORAGE_RADOS_TIMEOUT": "2s",
            "REGISTRY_HEALTH_STORAGEDRIVER_INTERVAL": "1s",
            "REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD": "2",
            "REGISTRY_SERVICES_BLOB_WORKERS": "1",
        }
        self.process = Process([MOORAGE, "up", "-c", EXAMPLE], log=folder / "moorage.log", env=self.env)
        wait_until(self._is_ready, timeout=60, what="moorage up is ready")

    def _is_ready(self) -> bool:
        assert self.process.running(), self.process.tail()
        return "Moorage is ready at " in self.process.log.read_text(errors="replace")

    def blob_service(self) -> psutil.Process:
        (found,) = (each for each in self.process.tree() if each.cmdline()[-4:-2] == ["serve", "blob"])
        return found

    def check(self) -> dict[str, int]:
        """What `moorage storage check` counts, of things of any age."""
        result = subprocess.run(
            [MOORAGE, "storage", "check", "-c", EXAMPLE, "--json", "--older-than", "0s"],
            env=self.env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert result.stdout, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    def stop(self) -> None:
        assert self.process.stop() == 0, self.process.tail()
        self._runtime.cleanup()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Ceph]:
    """A cluster of this module's own, whose OSD may be paused."""
    with Ceph() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def registry(cluster: Ceph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("rados"), cluster)
    yield registry
    registry.stop()


@pytest.fixture
def client(registry: Registry) -> Iterator[V2Client]:
    with V2Client(registry.url) as client:
        yield client


def test_an_image_is_pushed_and_pulled_and_the_pool_is_in_order(
    registry: Registry, client: V2Client, repository: str
) -> None:
    image = make_image(1, (2000, 9 * MIB))
    client.push_image(repository, "v1", image)
    client.assert_holds(repository, "v1", image)
    assert registry.check() == {"found": 0, "repaired": 0}


def test_an_upload_goes_on_at_once_when_the_blob_service_was_killed_in_its_middle(
    registry: Registry, client: V2Client, repository: str
) -> None:
    content = RANDOM.randbytes(13 * MIB)
    answer = expect(
        client.http.patch(
            client.location(expect(client.start_upload(repository), 202)), content=content[: 7 * MIB]
        ),
        202,
    )

    def endless() -> Iterator[bytes]:
        yield content[7 * MIB : 12 * MIB]
        service = registry.blob_service()
        service.kill()
        service.wait(timeout=10)
        yield content[12 * MIB :]

    # The connection may break with the service that had it.
    with suppress(httpx.HTTPError):
        client.http.patch(client.location(answer), content=endless())

    def status() -> httpx.Response | None:
        try:
            found = client.http.get(client.location(answer))
        except httpx.HTTPError:
            return None
        return found if found.status_code == 204 else None

    resumed = wait_until(status, timeout=30, what="the upload's status after the restart")
    stored = int(resumed.headers["range"].partition("-")[2]) + 1
    assert stored >= 7 * MIB
    # The gateway looks at the health every second, and may not know yet that all is well again.
    time.sleep(2)
    wait_until(
        lambda: client.http.get("/v2/").status_code == 200, timeout=30, what="health after the restart"
    )
    digest = digest_of(content)
    expect(client.http.put(f"{client.location(resumed)}&digest={digest}", content=content[stored:]), 201)
    assert client.http.get(f"/v2/{repository}/blobs/{digest}").content == content


def test_an_osd_that_hangs_gives_errors_in_time_and_the_registry_recovers_by_itself(
    registry: Registry, client: V2Client, cluster: Ceph, repository: str
) -> None:
    image = make_image(2, (5 * MIB,))
    client.push_image(repository, "v1", image)
    layer = image.layers[0]
    cluster.pause_osd()
    try:
        started = time.monotonic()
        answer = client.http.get(f"/v2/{repository}/blobs/{layer.digest}", timeout=30)
        assert answer.status_code >= 500
        assert time.monotonic() - started < 10
        wait_until(
            lambda: client.http.get("/v2/", timeout=30).status_code == 503,
            timeout=30,
            what="the registry says that it is not healthy",
        )
    finally:
        cluster.resume_osd()
    wait_until(
        lambda: client.http.get("/v2/", timeout=30).status_code == 200, timeout=60, what="it is healthy again"
    )
    client.assert_holds(repository, "v1", image)
