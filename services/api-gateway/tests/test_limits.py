"""What one client, and all of them, may ask of the gateway (`http.limits`)."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client import REGISTRY

from api_gateway.limitmemory import WAYS, LimitMemory, SharedLimitMemory, client_of
from api_gateway.requestlimit import Buckets
from moorage.config.limits import Limits
from support.accounts import write_accounts
from support.clock import Clock
from support.processes import wait_until

OCTETS = "Content-Type: application/octet-stream"


def refusals(limit: str) -> float:
    return REGISTRY.get_sample_value("registry_http_limit_refusals_total", {"limit": limit}) or 0.0


@contextlib.contextmanager
def counted(limit: str, times: int = 1) -> Iterator[None]:
    """Checks that so many refusals are counted meanwhile, or more."""
    before = refusals(limit)
    yield
    wait_until(lambda: refusals(limit) >= before + times, timeout=10, what=f"{limit} is counted")


def parsed(answer: bytes) -> tuple[int, dict[str, str], str]:
    """Status, fields and the error's code."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), fields, json.loads(body)["errors"][0]["code"]


def request(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *fields, "", ""]).encode("latin-1")


# Heads


@pytest.mark.parametrize("pieces", [1, 50], ids=["in one piece", "in many pieces"])
def test_a_head_that_is_too_large_is_refused(start_registry, pieces: int) -> None:
    registry = start_registry(http={"limits": {"headersize": "2KiB"}})
    head = request("GET", "/v2/", f"X-Large: {'x' * 2048}")
    with counted("headersize"), registry.connect() as connection:
        with contextlib.suppress(ConnectionError):
            for number in range(pieces):
                connection.sendall(head[len(head) * number // pieces : len(head) * (number + 1) // pieces])
        status, fields, code = parsed(read_all(connection))
    assert (status, code, fields["connection"]) == (431, "UNSUPPORTED", "close")
    assert registry.client.get("/v2/").status_code == 200


def test_a_head_with_too_many_fields_is_refused(start_registry) -> None:
    registry = start_registry(http={"limits": {"headercount": 10}})
    fitting = [f"X-{number}: x" for number in range(9)]
    with registry.connect() as connection:
        connection.sendall(request("GET", "/v2/", *fitting, "Connection: close")[:-2] + b"\r\n")
        assert b" 431 " in read_all(connection)
    with registry.connect() as connection:
        connection.sendall(request("GET", "/v2/", *fitting[:-1], "Connection: close"))
        assert b" 200 " in read_all(connection)
    # Also where a body follows, and other requests behind it.
    with counted("headercount"), registry.connect() as connection:
        connection.sendall(request("PUT", "/v2/a/manifests/x", *fitting, "Content-Length: 4") + b"body")
        with contextlib.suppress(ConnectionError):
            connection.sendall(request("GET", "/v2/"))
        answer = read_all(connection)
    assert parsed(answer)[0] == 431
    assert answer.count(b"HTTP/1.1") == 1


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize(
    "beginning", [b"GET /v2/ HTTP/1.1\r\nHost:", b"\r\n\r\n"], ids=["a head", "empty lines"]
)
@pytest.mark.parametrize("behind", [b"", request("GET", "/v2/")], ids=["first", "behind another"])
def test_a_head_that_trickles_is_ended_however_it_begins(
    start_registry, beginning: bytes, behind: bytes
) -> None:
    registry = start_registry(http={"limits": {"headtimeout": "400ms"}})
    with counted("headtimeout"), registry.connect() as connection:
        connection.settimeout(0.1)
        connection.sendall(behind + beginning)
        started, received = time.monotonic(), b""
        while time.monotonic() - started < 10:
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                pass
            except ConnectionError:
                break
            else:
                received += piece
                if not piece:
                    break
            with contextlib.suppress(OSError):
                connection.sendall(b"\r\n" if beginning.startswith(b"\r") else b"x")
    assert time.monotonic() - started < 5
    assert received.rpartition(b"HTTP/1.1 ")[2].startswith(b"408")


def test_an_idle_connection_is_closed_after_its_time(start_registry) -> None:
    registry = start_registry(http={"limits": {"idletimeout": "300ms"}})
    with registry.connect() as connection:
        connection.sendall(request("GET", "/v2/"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.2 < time.monotonic() - started < 5


def test_of_many_requests_at_once_no_more_than_one_waits_in_memory(registry) -> None:
    # So many would be a hundred megabytes if each became a request at once.
    many = 10_000
    process = psutil.Process()
    with registry.connect() as connection:
        connection.settimeout(60)
        before = process.memory_info().rss
        connection.setblocking(False)
        waiting, answers, most = memoryview(request("GET", "/v2/") * many), 0, 0
        deadline = time.monotonic() + 60
        tail = b""
        while answers < many and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                waiting = waiting[connection.send(waiting[:262144]) :]
            with contextlib.suppress(BlockingIOError):
                piece = tail + connection.recv(262144)
                answers += piece.count(b"HTTP/1.1 200")
                tail = piece[-11:] if not piece.endswith(b"HTTP/1.1 200") else b""
            most = max(most, process.memory_info().rss)
    assert answers == many
    assert most - before < 40 * 2**20


# Connections


def test_one_connection_too_many_is_turned_away_until_another_ends(start_registry) -> None:
    registry = start_registry(http={"limits": {"connections": 4}})
    registry.client.close()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(registry.connect()) for _ in range(4)]
        for connection in held:
            connection.sendall(request("GET", "/v2/"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with counted("connections"), registry.connect() as connection:
            status, fields, code = parsed(read_all(connection))
            assert (status, code) == (503, "UNAVAILABLE")
            assert (fields["retry-after"], fields["connection"]) == ("5", "close")
        held[0].close()
        wait_until(lambda: served(registry), timeout=10, what="the place is free again")


def served(registry) -> bool:
    with registry.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(request("GET", "/v2/", "Connection: close"))
        return b"HTTP/1.1 200" in read_all(connection)
    return False


def test_one_client_s_connections_leave_room_for_others(start_registry) -> None:
    registry = start_registry(http={"trustedproxies": ["192.0.2.0/24"], "limits": {"clientconnections": 3}})
    registry.client.close()

    def from_address(address: str) -> socket.socket:
        return socket.create_connection(registry.address[:2], timeout=20, source_address=(address, 0))

    with contextlib.ExitStack() as stack:
        for _ in range(3):
            held = stack.enter_context(from_address("127.0.0.7"))
            held.sendall(request("GET", "/v2/"))
            assert held.recv(65536).startswith(b"HTTP/1.1 200")
        with counted("clientconnections"), from_address("127.0.0.7") as connection:
            status, fields, code = parsed(read_all(connection))
            assert (status, code, fields["retry-after"]) == (429, "TOOMANYREQUESTS", "5")
        with from_address("127.0.0.8") as connection:
            connection.sendall(request("GET", "/v2/"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_trusted_proxy_brings_as_many_connections_as_it_has_clients(start_registry) -> None:
    registry = start_registry(http={"limits": {"clientconnections": 1}})
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(registry.connect())
            connection.sendall(request("GET", "/v2/"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_slow_head_stops_nobody_and_is_ended(start_registry) -> None:
    """Slowloris: many connections that send a byte now and then."""
    patience = 3.0
    registry = start_registry(http={"limits": {"headtimeout": f"{patience:g}s"}})
    before = psutil.Process().memory_info().rss
    with contextlib.ExitStack() as stack, counted("headtimeout", 200):
        slow = [stack.enter_context(registry.connect()) for _ in range(200)]
        for connection in slow:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        started, slowest, alive = time.monotonic(), 0.0, set(slow)
        while alive and time.monotonic() - started < 20:
            asked = time.monotonic()
            assert registry.client.get("/v2/").status_code == 200
            slowest = max(slowest, time.monotonic() - asked)
            for connection in list(alive):
                if is_ended(connection):
                    alive.discard(connection)
                else:
                    with contextlib.suppress(OSError):
                        connection.send(b"x")
            time.sleep(0.2)
        assert not alive
        # None waited for one of them to end.
        assert slowest < patience
    assert psutil.Process().memory_info().rss - before < 50 * 2**20


def is_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            continue
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


# Bodies

SLOW = {"minimumrate": "1000", "ratewindow": "1s"}


@pytest.fixture(scope="module", params=["auto", "off"], ids=["lent", "through the gateway"])
def impatient(start_registry, request):
    """A registry that wants bytes, over each way that they may take."""
    services = {"blob": {"channel": request.param}, "blobtimeout": "2s"}
    return start_registry(http={"limits": SLOW}, services=services)


def trickled(registry, head: bytes) -> tuple[bytes, int]:
    """Send a request whose body comes byte by byte; the answer, which comes before its end, and the bytes."""
    with registry.connect() as connection:
        connection.sendall(head)
        connection.settimeout(0.05)
        started, received, sent = time.monotonic(), b"", 0
        while time.monotonic() - started < 20 and not received:
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
                sent += 1
    assert 0.5 < time.monotonic() - started < 10
    return received, sent


def test_a_body_that_trickles_is_refused_and_the_upload_goes_on(impatient, repository: str) -> None:
    path = impatient.start_upload(repository).headers["location"].removeprefix(impatient.url)
    received, sent = trickled(impatient, request("PATCH", path, "Content-Length: 1000000", OCTETS))
    assert parsed(received)[::2] == (408, "SIZE_INVALID")
    wait_until(lambda: stored(impatient, path) > 0, timeout=10, what="what came is kept")
    assert stored(impatient, path) <= sent


def test_a_form_that_trickles_gets_no_token(start_registry, tmp_path) -> None:
    server = {
        "htpasswd": str(write_accounts(tmp_path / "htpasswd", {"ada": "pw"})),
        "key": str(tmp_path / "key"),
    }
    registry = start_registry(http={"limits": SLOW}, auth={"token": {"server": server}})
    form = "Content-Type: application/x-www-form-urlencoded"
    with counted("minimumrate"):
        received, _ = trickled(registry, request("POST", "/token", "Content-Length: 60000", form))
    assert parsed(received)[::2] == (408, "SIZE_INVALID")


def stored(registry, path: str) -> int:
    range_ = registry.client.get(path.partition("?")[0]).headers["range"]
    return int(range_.partition("-")[2]) + 1 if range_ != "0-0" else 0


def test_a_client_that_hardly_takes_a_blob_is_given_up(impatient, repository: str) -> None:
    size = 30_000_000
    digest = impatient.push_blob(repository, bytes(size))
    with impatient.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request("GET", f"/v2/{repository}/blobs/{digest}"))
        # The end is seen before what is in the buffers has been read.
        end = select.poll()
        end.register(connection, select.POLLRDHUP)
        started, taken = time.monotonic(), 0
        while not end.poll(50):
            assert time.monotonic() - started < 30
            taken += len(connection.recv(20))
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                taken += len(piece)
        assert taken < size


def test_a_client_that_is_merely_slow_gets_its_blob(impatient, repository: str) -> None:
    content = bytes(200_000)
    digest = impatient.push_blob(repository, content)
    with impatient.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request("GET", f"/v2/{repository}/blobs/{digest}", "Connection: close"))
        received = b""
        while piece := connection.recv(10_000):
            received += piece
            time.sleep(0.05)
    assert received.endswith(content)


def test_a_manifest_that_is_too_large_is_counted(registry) -> None:
    with counted("manifestsize"):
        answer = registry.client.put("/v2/a/manifests/x", content=bytes(4 * 2**20 + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_blob_that_is_too_large_is_counted(start_registry, repository: str, method: str) -> None:
    registry = start_registry(http={"limits": {"uploadsize": 1000}})
    location = registry.start_upload(repository).headers["location"]
    query = f"&digest=sha256:{'0' * 64}" if method == "PUT" else ""
    with counted("uploadsize"):
        assert registry.client.request(method, location + query, content=bytes(1001)).status_code == 413


# Requests


def test_more_requests_than_the_rate_are_refused_with_the_time_to_wait(start_registry) -> None:
    registry = start_registry(http={"limits": {"requestrate": 1, "requestburst": 5}})
    with counted("requestrate", 3):
        answers = [registry.client.get("/v2/") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert answers[-1].json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
    # Behind a trusted proxy each of its clients has a rate of its own.
    for client in ("203.0.113.1", "203.0.113.2"):
        headers = {"X-Forwarded-For": client}
        statuses = [registry.client.get("/v2/", headers=headers).status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]


def test_a_stranger_s_word_about_its_address_does_not_count(start_registry) -> None:
    limits = {"requestrate": 1, "requestburst": 3}
    registry = start_registry(http={"trustedproxies": ["192.0.2.0/24"], "limits": limits})
    statuses = [
        registry.client.get("/v2/", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
        for number in range(5)
    ]
    assert statuses == [200] * 3 + [429] * 2


def buckets(clock: Clock, **limits: int) -> Buckets:
    settings = Limits(**limits)
    return Buckets(settings, LimitMemory.alone(settings), clock)


def test_a_bucket_fills_again_at_its_rate_and_no_further_than_its_burst() -> None:
    clock = Clock()
    clients = buckets(clock, requestrate=2, requestburst=4)

    def taken() -> int:
        count = 0
        while not clients.take("192.0.2.1"):
            count += 1
        return count

    assert taken() == 4
    assert clients.take("192.0.2.1") == pytest.approx(0.5)
    clock.now += 1.0
    assert taken() == 2
    clock.now += 1000.0
    assert taken() == 4
    assert clients.take("192.0.2.2") == 0.0


def test_a_flood_of_addresses_takes_no_more_memory_and_leaves_most_buckets_alone() -> None:
    clock = Clock()
    clients = buckets(clock, requestrate=1, requestburst=1)
    assert clients.take("192.0.2.1") == 0.0
    for number in range(2000):
        clients.take(f"2001:db8::{number:x}")
    assert clients.take("192.0.2.1") > 0.0
    assert WAYS > 1


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_who_one_client_is(address: str, client: str) -> None:
    assert client_of(address) == client


def test_workers_count_together_and_what_one_had_goes_with_it() -> None:
    limits = Limits(clientconnections=10, requestrate=1, requestburst=1)
    shared = SharedLimitMemory(limits, 3)
    try:
        workers: list[Any] = [
            LimitMemory.inherited(shared.descriptor, limits, rows=3, number=number) for number in (1, 2, 3)
        ]
        for worker in workers:
            worker.count("192.0.2.1", 1)
        workers[0].count("192.0.2.1", 1)
        workers[1].count("", 1)
        assert [worker.connections for worker in workers] == [5] * 3
        assert [worker.connections_of("192.0.2.1") for worker in workers] == [4] * 3
        assert workers[0].connections_of("192.0.2.2") == 0
        shared.ended(1)
        assert (workers[2].connections, workers[2].connections_of("192.0.2.1")) == (3, 2)
        workers[2].count("192.0.2.1", -1)
        assert workers[1].connections_of("192.0.2.1") == 1
        # Requests, too.
        assert Buckets(limits, workers[0]).take("192.0.2.9") == 0.0
        assert Buckets(limits, workers[1]).take("192.0.2.9") > 0.0
    finally:
        shared.close()


def test_a_limit_that_is_off_leaves_nothing_on_the_way_of_a_request(registry) -> None:
    with httpx.Client(base_url=registry.url) as client:
        for _ in range(200):
            assert client.get("/v2/").status_code == 200
    assert LimitMemory.alone(Limits()).connections == 0
