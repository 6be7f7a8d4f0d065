"""`moorage up` as an operator runs it: the whole stack, in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.processes import free_port, is_gone, wait_until

SERVICES = ("gateway", "metadata", "notifier", "blob")


class Up:
    """One `moorage up`, its output as it comes, and its children."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.output: list[str] = []
        self.errors: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moorage", "up", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self.output)),
            threading.Thread(target=self._read, args=(self._process.stderr, self.errors)),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))

    def until_ready(self) -> Up:
        wait_until(
            lambda: self.said or self._process.poll() is not None, timeout=60, what="moorage up is ready"
        )
        assert self._process.poll() is None, "\n".join(self.errors)
        return self

    @property
    def said(self) -> list[str]:
        """Its own standard output, without the gateway's access log, where its look at the gateway stands."""
        return [line for line in self.output if '"GET ' not in line]

    @property
    def children(self) -> dict[str, psutil.Process]:
        found = {}
        for process in psutil.Process(self._process.pid).children():
            try:
                command = process.cmdline()
            except psutil.NoSuchProcess:  # it has ended, and is not collected yet
                continue
            found[command[command.index("serve") + 1] if "serve" in command else process.name()] = process
        return found

    @property
    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children(recursive=True)

    def send(self, number: signal.Signals) -> None:
        """As a terminal does: to the whole foreground group."""
        os.killpg(self._process.pid, number)

    def wait(self, seconds: float = 60) -> int:
        status = self._process.wait(seconds)
        for reader in self._readers:
            reader.join()
        return status

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self.wait()


@pytest.fixture
def environment(tmp_path: Path, short_folder: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REGISTRY_", "MOORAGE_", "XDG_"))
    }
    return {
        **kept,
        "XDG_RUNTIME_DIR": str(short_folder),
        "MOORAGE_DATA_DIR": str(tmp_path / "data"),
        "REGISTRY_HTTP_ADDR": f"127.0.0.1:{free_port()}",
        # Whatever the machine.
        "REGISTRY_HTTP_WORKERS": "2",
        "REGISTRY_SERVICES_BLOB_WORKERS": "1",
    }


@pytest.fixture
def up(environment: dict[str, str]) -> Iterator[Callable[..., Up]]:
    """Starts `moorage up`, and stops what is still there at the end."""
    started: list[Up] = []

    def start(*arguments: str, **variables: str) -> Up:
        started.append(Up(environment | variables, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.end()


def runtime_folder(data: Path) -> Path:
    return Path((data / "lock").read_text())


def is_healthy(data: Path, service: str) -> bool:
    with grpc.insecure_channel(f"unix:{runtime_folder(data)}/{service}.sock") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def test_it_says_one_line_when_ready_and_leaves_nothing_but_data(up, environment, tmp_path: Path) -> None:
    running = up().until_ready()
    address = environment["REGISTRY_HTTP_ADDR"]
    root = tmp_path / "data" / "registry"
    assert running.said == [f"Moorage is ready at http://{address} (storage: filesystem, {root})"]
    with urllib.request.urlopen(f"http://{address}/v2/", timeout=10) as answer:
        assert answer.status == 200
    runtime = runtime_folder(tmp_path / "data")
    assert runtime.stat().st_mode & 0o777 == 0o700
    children = running.children
    assert set(children) == {*SERVICES, "nats-server"}
    # Each has a session of its own, so the terminal's Ctrl-C reaches only the supervisor.
    assert {os.getsid(child.pid) for child in children.values()} == {child.pid for child in children.values()}
    running.send(signal.SIGINT)
    assert running.wait() == 0
    assert all(is_gone(child) for child in children.values())
    assert not runtime.exists()
    assert (tmp_path / "data" / "http.secret").stat().st_mode & 0o777 == 0o600
    assert not [line for line in running.errors if re.search("level=(warning|error)|Traceback", line)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_drain_too(up, number: signal.Signals) -> None:
    running = up().until_ready()
    running.send(number)
    assert running.wait() == 0


def test_whatever_is_killed_is_started_again(up, environment, tmp_path: Path) -> None:
    running = up().until_ready()
    for name in (*SERVICES, "nats-server"):
        victim = running.children[name]
        victim.kill()
        wait_until(lambda: is_gone(victim), timeout=60, what=f"{name} ends")  # noqa: B023  called at once
        wait_until(
            lambda: running.children.get(name, victim) != victim,  # noqa: B023  called at once
            timeout=60,
            what=f"{name} runs again",
        )
        assert any(f"{name} was ended by SIGKILL; starting it again" in line for line in running.errors)
    for name in ("metadata", "notifier", "blob"):
        wait_until(lambda: is_healthy(tmp_path / "data", name), timeout=60, what=f"{name} is healthy again")  # noqa: B023

    def answers() -> bool:
        try:
            with urllib.request.urlopen(
                f"http://{environment['REGISTRY_HTTP_ADDR']}/v2/", timeout=10
            ) as answer:
                return answer.status == 200
        except OSError:
            return False

    wait_until(answers, timeout=60, what="the gateway answers again")
    running.send(signal.SIGINT)
    assert running.wait() == 0


def test_nothing_outlives_a_supervisor_that_is_killed_and_the_next_one_cleans_up(up, tmp_path: Path) -> None:
    killed = up().until_ready()
    everything = killed.descendants
    left_over = runtime_folder(tmp_path / "data")
    secret = (tmp_path / "data" / "http.secret").read_text()
    killed.send(signal.SIGKILL)
    killed.wait()
    wait_until(lambda: all(is_gone(process) for process in everything), timeout=60, what="every process ends")
    assert left_over.exists()
    running = up().until_ready()
    assert not left_over.exists()
    assert (tmp_path / "data" / "http.secret").read_text() == secret
    running.send(signal.SIGTERM)
    assert running.wait() == 0


def test_services_of_several_processes_come_up_serve_and_go(up, environment, tmp_path: Path) -> None:
    running = up(REGISTRY_SERVICES_BLOB_WORKERS="2").until_ready()
    children = running.children
    assert set(children) == {*SERVICES, "nats-server"}
    workers = {name: len(children[name].children()) for name in SERVICES}
    assert workers == {"gateway": 2, "blob": 2, "metadata": 0, "notifier": 0}
    address = f"http://{environment['REGISTRY_HTTP_ADDR']}"
    with urllib.request.urlopen(f"{address}/v2/_catalog", timeout=10) as answer:
        assert json.load(answer) == {"repositories": []}
    runtime = runtime_folder(tmp_path / "data")
    assert {path.name for path in runtime.glob("blob*.sock")} >= {"blob.1.sock", "blob.2.sock"}
    everything = running.descendants
    assert len(everything) == 9
    running.send(signal.SIGINT)
    assert running.wait() == 0
    assert all(is_gone(process) for process in everything)
    assert not runtime.exists()
    assert not [line for line in running.errors if re.search("level=(warning|error)|Traceback", line)]


def test_a_second_ctrl_c_ends_the_workers_too(up, environment) -> None:
    running = up(REGISTRY_HTTP_DRAINTIMEOUT="60s").until_ready()
    everything = running.descendants
    host, _, port = environment["REGISTRY_HTTP_ADDR"].partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as busy:
        # A request that is under way as long as its body does not come.
        busy.sendall(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        location = re.search(rb"location: http://[^/]+(\S+)", busy.recv(65536))
        assert location is not None
        busy.sendall(b"PATCH %b HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nfour" % location[1])
        time.sleep(0.5)
        running.send(signal.SIGINT)
        time.sleep(1)
        assert any(not is_gone(process) for process in everything)
        running.send(signal.SIGINT)
        assert running.wait(20) == 1
        wait_until(
            lambda: all(is_gone(process) for process in everything), timeout=10, what="every process ends"
        )


def test_an_address_in_use_fails_at_once_in_one_line(up, environment, tmp_path: Path) -> None:
    host, _, port = environment["REGISTRY_HTTP_ADDR"].partition(":")
    with socket.create_server((host, int(port))):
        running = up()
        assert running.wait() == 1
    assert running.output == []
    assert running.errors == [f"moorage: cannot listen on {host}:{port}: address already in use"]
    assert not (tmp_path / "data").exists()


def test_a_service_that_does_not_start_fails_it_with_that_services_reason(up, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        debug = f"127.0.0.1:{taken.getsockname()[1]}"
        running = up(REGISTRY_HTTP_DEBUG_ADDR=debug)
        assert running.wait() == 1
    assert running.output == []
    assert running.errors[-1].startswith("moorage: gateway: ")
    assert "in use" in running.errors[-1]


def test_a_second_one_on_the_same_data_is_refused(up, tmp_path: Path) -> None:
    up().until_ready()
    second = up(REGISTRY_HTTP_ADDR=f"127.0.0.1:{free_port()}")
    assert second.wait() == 1
    assert second.errors == [f"moorage: {tmp_path / 'data'} is in use by another 'moorage up'"]


def test_an_operators_configuration_and_broker_are_used(
    up, environment, tmp_path: Path, short_folder: Path
) -> None:
    broker = up().until_ready()
    listening = (runtime_folder(tmp_path / "data") / "nats.conf").read_text()
    port = re.findall(r"port: (\d+)", listening)[0]
    user, password = re.findall(r'user: (\S+), password: "(\S+)"', listening)[0]
    config = tmp_path / "config.yml"
    socket_path = short_folder / "registry.sock"
    config.write_text(
        "version: 0.1\n"
        "storage: inmemory\n"
        f"http:\n  net: unix\n  addr: {socket_path}\n  prefix: /a/\n"
        f"services:\n  nats:\n    url: nats://{user}:{password}@127.0.0.1:{port}\n"
    )
    del environment["REGISTRY_HTTP_ADDR"]
    running = up("-c", str(config), MOORAGE_DATA_DIR=str(tmp_path / "other")).until_ready()
    assert running.said == [f"Moorage is ready at unix://{socket_path} (storage: inmemory)"]
    assert set(running.children) == set(SERVICES)
    wait_until(
        lambda: is_healthy(tmp_path / "other", "notifier"),
        timeout=60,
        what="the notifier has the operator's broker",
    )
    for each in (running, broker):
        each.send(signal.SIGINT)
        assert each.wait() == 0


def test_a_port_of_zero_is_refused_before_anything_starts(up, tmp_path: Path) -> None:
    running = up(REGISTRY_HTTP_ADDR="127.0.0.1:0")
    assert running.wait() == 2
    assert running.errors == ["moorage: http.addr: 'moorage up' needs a port of its own, not 0"]
    assert not (tmp_path / "data").exists()
