"""The blob service as several processes, as an operator runs it: `moorage serve blob`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.processes import is_gone, wait_until


def is_healthy(target: str) -> bool:
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def consecutive_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(21000, 30000, 50):
        listeners = []
        try:
            for port in range(first, first + count):
                listeners.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        else:
            return first
        finally:
            for each in listeners:
                each.close()
    raise AssertionError(f"no {count} free ports in a row")


class Blob:
    """`moorage serve blob` over a folder, in a session of its own."""

    def __init__(
        self, folder: Path, root: str, services: dict[str, Any], environment: dict[str, str]
    ) -> None:
        document = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": root}},
            "services": services,
        }
        config = folder / "blob.yml"
        config.write_text(yaml.safe_dump(document))
        self._log = folder / "blob.log"
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("MOORAGE_", "REGISTRY_"))
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moorage", "serve", "blob", "-c", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=kept | environment,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Blob]]:
    """Starts the service, and stops it if it is still there at the end."""
    started: list[Blob] = []

    def start(blob: dict[str, Any], root: str = f"{tmp_path}/registry", **environment: str) -> Blob:
        started.append(Blob(tmp_path, root, {"blob": blob}, environment))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_process_is_an_instance_and_a_stop_leaves_none(
    serve, short_folder: Path, number: signal.Signals
) -> None:
    blob = serve({"addr": f"unix://{short_folder}/blob.sock", "workers": 3})
    sockets = [short_folder / f"blob.{each}.sock" for each in (1, 2, 3)]
    for path in sockets:
        wait_until(lambda: is_healthy(f"unix:{path}"), timeout=30, what=f"{path} is healthy")  # noqa: B023  called at once
    assert not (short_folder / "blob.sock").exists()
    workers = blob.workers
    assert len(workers) == 3
    # As a terminal does: to the whole foreground group.
    os.killpg(blob.process.pid, number)
    assert blob.process.wait(30) == 0, blob.said
    assert all(is_gone(worker) for worker in workers)
    assert list(short_folder.iterdir()) == []


def test_over_tcp_the_ports_count_up_from_the_first_whatever_the_environment_says(serve) -> None:
    first = consecutive_ports(4)
    serve(
        {"addr": ["localhost:1"], "workers": 2, "dataport": first + 2},
        REGISTRY_SERVICES_BLOB_ADDR_0=f"127.0.0.1:{first}",
    )
    for port in (first, first + 1):
        wait_until(lambda: is_healthy(f"127.0.0.1:{port}"), timeout=30, what=f"port {port} is healthy")  # noqa: B023  called at once
    for port in (first + 2, first + 3):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_an_instance_that_is_killed_comes_back_and_the_others_go_on(serve, short_folder: Path) -> None:
    blob = serve({"addr": f"unix://{short_folder}/blob.sock", "workers": 2})
    targets = [f"unix:{short_folder}/blob.{each}.sock" for each in (1, 2)]
    for target in targets:
        wait_until(lambda: is_healthy(target), timeout=30, what=f"{target} is healthy")  # noqa: B023  called at once
    # Before the parent has seen that too, one that ends takes the others along: perhaps it never can start.
    wait_until(lambda: "the workers are ready" in blob.said, timeout=30, what="the workers are ready")
    victim = next(each for each in blob.workers if each.environ()["MOORAGE_WORKER"] == "1")
    other = next(each for each in blob.workers if each != victim)
    victim.kill()
    wait_until(lambda: is_gone(victim), timeout=30, what="it ends")
    assert is_healthy(targets[1])
    wait_until(lambda: is_healthy(targets[0]), timeout=30, what="it comes back")
    assert other.is_running()
    assert "blob worker 1 was ended by SIGKILL; starting it again" in blob.said


def test_instances_end_with_a_parent_that_is_killed(serve, short_folder: Path) -> None:
    blob = serve({"addr": f"unix://{short_folder}/blob.sock", "workers": 2})
    wait_until(lambda: is_healthy(f"unix:{short_folder}/blob.2.sock"), timeout=30, what="it is healthy")
    workers = blob.workers
    blob.process.kill()
    wait_until(lambda: all(is_gone(worker) for worker in workers), timeout=5, what="the instances end")


def test_an_address_that_one_instance_cannot_have_ends_all_of_them(serve, short_folder: Path) -> None:
    (short_folder / "blob.2.sock").write_text("somebody's")
    blob = serve({"addr": f"unix://{short_folder}/blob.sock", "workers": 2})
    assert blob.process.wait(30) == 1
    assert blob.said.splitlines()[-1] == (
        f"moorage: blob worker 2: {short_folder}/blob.2.sock is in the way: it is not a socket"
    )
    assert [path.name for path in short_folder.iterdir()] == ["blob.2.sock"]


def test_a_folder_that_cannot_be_used_ends_it_in_one_line_before_a_worker_starts(
    serve, short_folder: Path
) -> None:
    (short_folder / "file").touch()
    blob = serve(
        {"addr": f"unix://{short_folder}/blob.sock", "workers": 2}, root=f"{short_folder}/file/registry"
    )
    assert blob.process.wait(30) == 2, blob.said
    assert blob.said.startswith("moorage: storage.filesystem.rootdirectory: ")
    assert blob.said.count("\n") == 1
