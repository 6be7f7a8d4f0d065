"""The gateway as several processes, as an operator runs it: `moorage serve gateway`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from support.processes import free_port, is_gone, wait_until


class Gateway:
    """`moorage serve gateway` in a session of its own. Nothing is behind it: `/v2/` needs nothing."""

    def __init__(self, folder: Path, number: int, http: dict[str, Any]) -> None:
        self.port, self.debug_port = free_port(), free_port()
        debug = {"addr": f"127.0.0.1:{self.debug_port}", "prometheus": {"enabled": True}}
        document = {
            "version": 0.1,
            "storage": "inmemory",
            "log": {"accesslog": {"disabled": True}, "level": "warn"},
            "http": {"addr": f"127.0.0.1:{self.port}", "draintimeout": "10s", "debug": debug, **http},
            "services": {
                "blob": {"addr": f"unix://{folder}/blob.sock"},
                "metadata": {"addr": f"unix://{folder}/metadata.sock"},
            },
        }
        config = folder / f"gateway-{number}.yml"
        config.write_text(yaml.safe_dump(document))
        self._log = folder / f"gateway-{number}.log"
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("MOORAGE_", "REGISTRY_"))
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moorage", "serve", "gateway", "-c", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def workers(self) -> list[psutil.Process]:
        """The workers in the order in which they were started."""
        if self.process.poll() is not None:
            return []
        children = psutil.Process(self.process.pid).children()
        return sorted(children, key=lambda each: (each.create_time(), each.pid))

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def answers(self) -> bool:
        try:
            with self.connect() as connection:
                return ask(connection) == 200
        except OSError:
            return False

    def until_ready(self, workers: int) -> Gateway:
        """Wait until each of so many processes has served a connection."""
        wait_until(lambda: len(self.serving()) == workers, timeout=30, what=f"{workers} workers serve")
        return self

    def serving(self) -> list[psutil.Process]:
        """The workers that share a burst of connections."""
        assert self.process.poll() is None, self.said
        connections = []
        try:
            for _ in range(16):
                connections.append(self.connect())
            for connection in connections:
                ask(connection)
            owners = self.owners()
            return [worker for worker in self.workers if owners[worker.pid]]
        except OSError:
            return []
        finally:
            for connection in connections:
                connection.close()

    def owners(self) -> Counter[int]:
        """How many established connections each worker has."""
        owners: Counter[int] = Counter({worker.pid: 0 for worker in self.workers})
        for worker in self.workers:
            for each in worker.net_connections("tcp"):
                if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == self.port:
                    owners[worker.pid] += 1
        return owners

    def owner_of(self, connection: socket.socket) -> psutil.Process:
        """The worker that a connection is with."""
        port = connection.getsockname()[1]
        for worker in self.workers:
            if any(each.raddr and each.raddr.port == port for each in worker.net_connections("tcp")):
                return worker
        raise AssertionError("no worker has the connection")

    def debug(self, path: str, method: str = "GET") -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.debug_port}{path}", timeout=20)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over all labels."""
        lines = self.debug("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[{{ ]", line))

    def wait(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)


def ask(connection: socket.socket, path: str = "/v2/") -> int:
    """The status of a GET on a connection that stays open."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    received = b""
    while not received.endswith(b"}"):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("closed in mid-answer")
        received += piece
    return int(received.split(b" ", 2)[1])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways, and stops what is still there at the end."""
    started: list[Gateway] = []

    def start(**http: Any) -> Gateway:
        started.append(Gateway(tmp_path, len(started), http))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.wait()


def test_one_process_is_enough_for_one_worker(serve) -> None:
    gateway = serve(workers=1)
    wait_until(gateway.answers, timeout=30, what="it answers")
    assert gateway.workers == []
    gateway.process.terminate()
    assert gateway.wait() == 0


def test_connections_are_spread_over_the_workers(serve) -> None:
    gateway = serve(workers=2).until_ready(2)
    connections = [gateway.connect() for _ in range(64)]
    try:
        assert [ask(connection) for connection in connections] == [200] * 64
        owners = gateway.owners()
        assert owners.total() == 64
        assert min(owners.values()) >= 16, owners
    finally:
        for connection in connections:
            connection.close()


def test_a_worker_that_is_killed_takes_only_its_own_connections_with_it(serve) -> None:
    gateway = serve(workers=2).until_ready(2)
    connections = [gateway.connect() for _ in range(32)]
    try:
        for connection in connections:
            assert ask(connection) == 200
        victim = gateway.workers[0]
        lost = [each for each in connections if gateway.owner_of(each) == victim]
        kept = [each for each in connections if each not in lost]
        assert lost
        assert kept
        # Requests are under way on both sides.
        for connection in connections:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n")
        victim.kill()
        for connection in kept:
            connection.sendall(b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        for connection in lost:
            assert is_reset(connection)
        wait_until(lambda: len(gateway.serving()) == 2, timeout=30, what="the worker runs again")
        assert "gateway worker 1 was ended by SIGKILL; starting it again" in gateway.said
        assert all(ask(connection) == 200 for connection in kept)
    finally:
        for connection in connections:
            connection.close()


def is_reset(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_metrics_are_those_of_all_workers_and_outlive_each(serve) -> None:
    gateway = serve(workers=2).until_ready(2)
    before = gateway.metric("registry_http_requests_total")
    connections = [gateway.connect() for _ in range(16)]
    for connection in connections:
        ask(connection)
    counted = before + 16
    assert len([count for count in gateway.owners().values() if count]) == 2
    assert gateway.metric("registry_http_requests_total") == counted
    for connection in connections:
        connection.close()
    victim = gateway.workers[0]
    victim.kill()
    wait_until(lambda: is_gone(victim), timeout=30, what="it ends")
    wait_until(lambda: len(gateway.serving()) == 2, timeout=30, what="it runs again")
    assert gateway.metric("registry_http_requests_total") >= counted
    assert gateway.metric("registry_http_in_flight_requests") == 0


def test_the_debug_server_is_one_and_its_health_is_that_of_every_worker(serve) -> None:
    gateway = serve(workers=2).until_ready(2)
    connections = [gateway.connect() for _ in range(16)]
    statuses = lambda: {ask(connection) for connection in connections}  # noqa: E731  said often
    try:
        assert statuses() == {200}
        assert len([count for count in gateway.owners().values() if count]) == 2
        assert gateway.debug("/debug/health").json() == {}
        assert gateway.debug("/debug/health/down", "POST").status_code == 200
        assert gateway.debug("/debug/health").json() == {"manual_http_status": "manual check"}
        assert statuses() == {503}
        killed = gateway.workers
        for worker in killed:
            worker.kill()
        wait_until(
            lambda: len(gateway.workers) == 2 and not set(gateway.workers) & set(killed),
            timeout=30,
            what="both run again",
        )
        # What is unhealthy answers, and hangs up.
        for _ in range(32):
            with gateway.connect() as connection:
                assert ask(connection) == 503, "a worker that starts later is as healthy as its parent"
        gateway.debug("/debug/health/up", "POST")
        assert gateway.answers()
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_every_worker_finish_and_leaves_nothing(serve, number: signal.Signals) -> None:
    gateway = serve(workers=2).until_ready(2)
    workers = gateway.workers
    busy, idle = [gateway.connect() for _ in range(8)], [gateway.connect() for _ in range(8)]
    for connection in idle:
        assert ask(connection) == 200
    upload = b"PUT /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n12"
    for connection in busy:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(upload)
    # As a terminal does: to the whole foreground group.
    os.killpg(gateway.process.pid, number)
    for connection in idle:
        assert is_reset(connection)
    wait_until(lambda: refuses(gateway), timeout=30, what="nothing new is taken")
    for connection in busy:
        assert connection.recv(65536).startswith(b"HTTP/1.1 4")
    assert gateway.wait() == 0, gateway.said
    assert all(is_gone(worker) for worker in workers)
    for connection in [*busy, *idle]:
        connection.close()


def refuses(gateway: Gateway) -> bool:
    try:
        gateway.connect().close()
    except OSError:
        return True
    return False


def test_nothing_outlives_a_parent_that_is_killed_and_its_address_is_free(serve) -> None:
    gateway = serve(workers=2).until_ready(2)
    workers = gateway.workers
    gateway.process.kill()
    wait_until(lambda: all(is_gone(worker) for worker in workers), timeout=5, what="the workers end")
    again = serve(workers=2, addr=f"127.0.0.1:{gateway.port}")
    again.port = gateway.port
    again.until_ready(2)


def test_the_debug_listener_asks_the_worker_that_is_named(serve) -> None:
    gateway = serve(workers=2).until_ready(2)

    def process_of(query: str) -> int:
        pid: int = gateway.debug(f"/debug/vars{query}").json()["process"]["pid"]
        return pid

    workers = {worker.pid for worker in gateway.workers}
    assert {process_of("?worker=1"), process_of("?worker=2")} == workers
    assert process_of("?worker=0") == gateway.process.pid
    everyone = gateway.debug("/debug/vars").json()
    assert everyone["process"]["pid"] == gateway.process.pid
    assert {each["process"]["pid"] for each in everyone["workers"].values()} == workers
    # A worker that serves is the one to look into, unless somebody says.
    assert "_be_inspected" in gateway.debug("/debug/pprof/tasks").text, gateway.said
    assert "_be_inspected" not in gateway.debug("/debug/pprof/tasks?worker=0").text
    assert gateway.debug("/debug/pprof/heap?seconds=0.05&worker=2").status_code == 200
    answer = gateway.debug("/debug/pprof/threads?worker=3")
    assert (answer.status_code, "those that run: 1, 2" in answer.text) == (404, True)


@pytest.mark.parametrize("which", ["addr", "debug"])
def test_an_address_in_use_fails_in_one_line_before_a_worker_starts(serve, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        http = {"addr": address} if which == "addr" else {"debug": {"addr": address}}
        gateway = serve(workers=2, secret="known", **http)
        assert gateway.wait() == 1
    assert gateway.said.count("\n") == 1
    assert re.match(r"moorage: .*address already in use", gateway.said, re.IGNORECASE)


def test_a_unix_socket_is_shared_by_the_workers_and_goes_with_them(serve, short_folder: Path) -> None:
    path = short_folder / "workers.sock"
    gateway = serve(workers=2, net="unix", addr=str(path))
    wait_until(path.exists, timeout=30, what="it listens")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=20) as client:
        assert client.get("http://registry.test/v2/").status_code == 200
    assert len(gateway.workers) == 2
    gateway.process.terminate()
    assert gateway.wait() == 0
    assert not path.exists()


def test_what_one_worker_signs_every_worker_accepts_though_no_secret_is_configured(serve) -> None:
    gateway = serve(workers=2).until_ready(2)
    secrets = {worker.environ()["REGISTRY_HTTP_SECRET"] for worker in gateway.workers}
    assert len(secrets) == 1
    assert len(secrets.pop()) == 64
    assert gateway.said.count("http.secret is not set") == 1
