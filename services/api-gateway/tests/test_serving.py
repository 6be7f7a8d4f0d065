"""Listeners, the drain, the health gate, the debug server, the logs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import logging
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from api_gateway.main import SERVICE
from api_gateway.server import listen_tcp, listen_unix
from moorage.config import parse
from support.processes import free_port


def eventually(condition: Callable[[], Any], timeout: float = 10) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


# Listeners


def test_an_address_without_a_host_is_every_interface() -> None:
    with listen_tcp("", 0) as listener:
        port = listener.getsockname()[1]
        hosts = ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]
        for host in hosts:
            socket.create_connection((host, port), timeout=5).close()


def test_a_name_is_listened_on_by_ipv4() -> None:
    with listen_tcp("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_socket_left_by_a_crash_is_replaced_and_another_file_is_not(short_folder: Path) -> None:
    path = short_folder / "registry.sock"
    listen_unix(str(path)).close()
    assert stat.S_ISSOCK(path.stat().st_mode)
    listen_unix(str(path)).close()
    assert path.stat().st_mode & 0o777 == 0o660
    other = short_folder / "file"
    other.write_text("somebody's")
    with pytest.raises(OSError, match="not a socket"):
        listen_unix(str(other))
    assert other.read_text() == "somebody's"


def test_a_registry_on_a_unix_socket_believes_its_proxy(
    start_registry, short_folder: Path, repository: str
) -> None:
    registry = start_registry(http={"net": "unix", "addr": str(short_folder / "registry.sock")})
    digest = registry.push_blob(repository, b"over a socket")
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pub.example"}
    answer = registry.client.post(f"/v2/{repository}/blobs/uploads/", headers=headers)
    assert answer.headers["location"].startswith(f"https://pub.example/v2/{repository}/")
    assert registry.client.get(f"/v2/{repository}/blobs/{digest}").content == b"over a socket"


async def test_the_service_runs_until_it_is_told_to_stop(short_folder: Path) -> None:
    port = free_port()
    config = parse(f"version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:{port}', secret: x}}\n", {})
    stop = asyncio.Event()
    running = asyncio.ensure_future(SERVICE.run(config, stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client, asyncio.timeout(20):
        while True:
            with contextlib.suppress(httpx.ConnectError):
                assert (await client.get("/v2/")).status_code == 200
                break
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(running, 10)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_what_is_under_way_is_finished_and_nothing_new_is_taken(
    start_registry, loop_thread, repository: str
) -> None:
    registry = start_registry(http={"draintimeout": "20s"})
    location = registry.start_upload(repository).headers["location"]
    content = bytes(1000)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = f"{location.removeprefix(registry.url)}&digest={digest}"
    with registry.connect() as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + content[:500])
        time.sleep(0.2)
        stopping = asyncio.run_coroutine_threadsafe(
            registry._gateway.__aexit__(None, None, None), loop_thread.loop
        )
        eventually(lambda: refuses(registry.address))
        assert refuses(registry.address)
        assert not stopping.done()
        connection.sendall(content[500:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")
    stopping.result(20)
    registry._gateway = contextlib.AsyncExitStack()


def refuses(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address[:2], timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_does_not_end_in_time_is_cut_off(start_registry, loop_thread, repository: str) -> None:
    registry = start_registry(http={"draintimeout": "300ms"})
    path = registry.start_upload(repository).headers["location"].removeprefix(registry.url)
    with registry.connect() as connection:
        connection.sendall(f"PATCH {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nfour".encode())
        time.sleep(0.2)
        started = time.monotonic()
        loop_thread.run(registry._gateway.__aexit__(None, None, None))
        assert time.monotonic() - started < 5
    registry._gateway = contextlib.AsyncExitStack()


def test_without_a_secret_one_is_made_up_and_the_operator_is_told(start_registry, repository: str) -> None:
    with captured_log() as lines:
        registry = start_registry(http={"secret": None})
    assert any("http.secret is not set" in line["event"] for line in lines)
    assert registry.push_blob(repository, b"content")


# Health


def test_while_a_check_fails_nothing_is_served(start_registry, tmp_path: Path) -> None:
    path = tmp_path / "out-of-service"
    registry = start_registry(health={"file": [{"file": str(path), "interval": "20ms"}]})
    assert registry.client.get("/").status_code == 200
    path.touch()
    assert eventually(lambda: registry.client.get("/").status_code == 503)
    for method, target in (("GET", "/v2/"), ("PUT", "/v2/a/manifests/x"), ("GET", "/openapi.json")):
        answer = registry.client.request(method, target)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "UNAVAILABLE")
        assert "/debug/health" in answer.json()["errors"][0]["detail"]
    path.unlink()
    assert eventually(lambda: registry.client.get("/v2/").status_code == 200)


def test_the_gate_closes_when_the_blob_service_cannot_do_its_work(start_registry) -> None:
    registry = start_registry(health={"storagedriver": {"enabled": True, "interval": "50ms", "threshold": 2}})
    assert registry.client.get("/v2/").status_code == 200
    with registry.without(registry.blob):
        assert eventually(lambda: registry.client.get("/v2/").status_code == 503)
    assert eventually(lambda: registry.client.get("/v2/").status_code == 200)


@pytest.fixture(scope="module")
def debugged(start_registry) -> Iterator[tuple[Any, httpx.Client]]:
    """A registry with a debug server, and a client of that."""
    port = free_port()
    debug = {"addr": f"127.0.0.1:{port}", "prometheus": {"enabled": True, "path": "/prometheus"}}
    registry = start_registry(http={"debug": debug})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        yield registry, client


def test_an_operator_takes_the_registry_out_of_service_and_back(debugged) -> None:
    registry, debug = debugged
    assert debug.get("/debug/health").json() == {}
    assert debug.post("/debug/health/down").status_code == 200
    answer = debug.get("/debug/health")
    assert (answer.status_code, answer.json()) == (503, {"manual_http_status": "manual check"})
    assert registry.client.get("/v2/").status_code == 503
    assert debug.post("/debug/health/up").status_code == 200
    assert debug.get("/debug/health").status_code == 200
    assert registry.client.get("/v2/").status_code == 200


def test_the_debug_server_has_no_other_pages(debugged) -> None:
    _, debug = debugged
    for method, path in (
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/debug/health/down"),
    ):
        assert debug.request(method, path).status_code == 404


def test_the_debug_pages_are_not_on_the_registrys_own_listener(debugged) -> None:
    registry, _ = debugged
    for path in ("/debug/health", "/debug/vars", "/debug/pprof/", "/debug/alive", "/prometheus", "/metrics"):
        assert registry.client.get(path).status_code == 404


def test_requests_are_counted_under_distributions_names(debugged, repository: str) -> None:
    registry, debug = debugged

    def sample(name: str, **labels: str) -> float:
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        match = re.search(rf"^{name}{{{wanted}}} (\S+)$", debug.get("/prometheus").text, re.MULTILINE)
        return float(match[1]) if match else 0

    def counted() -> tuple[float, ...]:
        return (
            sample("registry_http_requests_total", handler="blob_upload", method="post", code="202"),
            sample("registry_http_request_duration_seconds_count", handler="blob_upload", method="post"),
            sample("registry_http_request_size_bytes_sum", handler="blob_upload_chunk"),
            sample("registry_http_response_size_bytes_sum", handler="blob"),
        )

    before = counted()
    registry.client.get(f"/v2/{repository}/blobs/{registry.push_blob(repository, bytes(1000))}")
    assert [after - first for after, first in zip(counted(), before, strict=True)] == [1, 1, 1000, 1000]
    assert sample("registry_http_in_flight_requests", handler="blob") == 0


# Logs


def test_the_access_log_has_a_line_for_each_request(
    start_registry, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    registry = start_registry(log={"accesslog": {"disabled": False}})
    headers = {"User-Agent": 'evil" 200 1\\', "X-Forwarded-For": "192.0.2.7"}
    registry.client.get(f"/v2/{repository}/tags/list?n=1", headers=headers)
    # What the gateway logs itself may stand before it.
    line = eventually(lambda: [each for each in output.getvalue().splitlines(True) if "tags/list" in each])[0]
    expected = (
        rf"192\.0\.2\.7 - - \[[^]]+\] "
        rf'"GET /v2/{re.escape(repository)}/tags/list\?n=1 HTTP/1\.1" 404 \d+ "" '
        rf'"evil\\" 200 1\\\\"\n'
    )
    assert re.fullmatch(expected, line)


@contextlib.contextmanager
def captured_log() -> Iterator[list[Any]]:
    """The lines that are logged meanwhile, from level info up."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    try:
        with structlog.testing.capture_logs() as lines:
            yield lines
    finally:
        structlog.configure(**before)


def logged(registry, repository: str, headers: dict[str, str]) -> dict[str, Any]:
    with captured_log() as lines:
        registry.client.get(f"/v2/{repository}/tags/list", headers=headers)
        eventually(lambda: any(line["event"].startswith("response completed") for line in lines))
    return next(line for line in lines if line["event"].startswith("response completed"))


def test_a_completed_response_is_logged_with_what_it_was_about(registry, repository: str) -> None:
    line = logged(registry, repository, {"User-Agent": "docker/1\r2"[:8]})
    assert line["event"] == "response completed with error"
    assert line["log_level"] == "info"
    assert (line["err.code"], line["http.response.status"]) == ("name unknown", 404)
    assert line["vars.name"] == repository
    assert line["http.request.useragent"] == "docker/1"


def test_a_client_that_goes_away_is_logged_as_499(registry, repository: str) -> None:
    path = registry.start_upload(repository).headers["location"].removeprefix(registry.url)
    with captured_log() as lines:
        with registry.connect() as connection:
            connection.sendall(f"PATCH {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nfour".encode())
            time.sleep(0.1)
        found = eventually(lambda: [line for line in lines if line["event"] == "client went away"])
    assert found[0]["http.response.status"] == 499
