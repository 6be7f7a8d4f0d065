"""HTTP as it is on the wire: framing, methods, paths, connections that go on and connections that end."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

OCTETS = "Content-Type: application/octet-stream"


class Answer:
    """One answer, read from a connection that may go on."""

    def __init__(self, connection: socket.socket, method: str = "GET") -> None:
        stream = connection.makefile("rb")
        self.status = int(stream.readline().split()[1])
        self.headers: dict[str, str] = {}
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(": ")
            self.headers[name.lower()] = value
        bodiless = method == "HEAD" or self.status in (204, 304)
        self.body = b"" if bodiless else stream.read(int(self.headers["content-length"]))

    @property
    def code(self) -> str:
        return json.loads(self.body)["errors"][0]["code"]


def request(
    method: str, path: str, *headers: str, host: str | None = "registry.test", body: bytes = b""
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def ask(registry, *arguments, **options) -> Answer:
    with registry.connect() as connection:
        connection.sendall(request(*arguments, **options))
        return Answer(connection, arguments[0])


# Routes


def test_the_base_is_an_empty_object(registry) -> None:
    answer = ask(registry, "GET", "/v2/")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_the_root_says_that_the_registry_is_alive(registry, method: str) -> None:
    answer = ask(registry, method, "/")
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"", "no-cache")


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/v2", "/v2/"),
        ("/v2?x=%20y", "/v2/?x=%20y"),
        ("/v2/_catalog/", "/v2/_catalog"),
        ("/v2/a%2Fb/tags/list/", "/v2/a%2Fb/tags/list"),
        ("/v2/a/blobs/uploads", "/v2/a/blobs/uploads/"),
    ],
)
def test_a_slash_too_many_or_too_few_redirects(registry, path: str, location: str) -> None:
    answer = ask(registry, "GET", path)
    assert (answer.status, answer.headers["location"]) == (301, location)


@pytest.mark.parametrize(
    "path", ["/v2/a/unknown", "/v2/a", "/v2/a/manifests/b/c", "/elsewhere", "/v1/search"]
)
def test_an_unknown_path_has_an_envelope(registry, path: str) -> None:
    answer = ask(registry, "GET", path)
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v2/", "GET, HEAD, OPTIONS"),
        ("/v2/a/tags/list", "GET, OPTIONS"),
        ("/v2/a/manifests/latest", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v2/a/blobs/uploads/", "POST, OPTIONS"),
        ("/v2/_catalog", "GET, OPTIONS"),
    ],
)
def test_a_missing_method_is_refused_and_options_lists_those_there_are(
    registry, path: str, allow: str
) -> None:
    answer = ask(registry, "OPTIONS", path)
    assert (answer.status, answer.headers["allow"], answer.body) == (200, allow, b"")
    answer = ask(registry, "TRACE", path)
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "UNSUPPORTED", allow)


def test_a_read_only_registry_has_no_method_that_writes(start_registry) -> None:
    registry = start_registry(storage={"maintenance": {"readonly": {"enabled": True}}})
    assert ask(registry, "OPTIONS", "/v2/a/manifests/latest").headers["allow"] == "GET, HEAD, OPTIONS"
    assert ask(registry, "OPTIONS", "/v2/a/blobs/uploads/").headers["allow"] == "OPTIONS"


def test_where_deletion_is_off_the_refusal_does_not_allow_it(start_registry) -> None:
    registry = start_registry(storage={"delete": {"enabled": False}})
    registry.push_image("kept")
    answer = ask(registry, "DELETE", "/v2/kept/manifests/latest")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert "DELETE" not in answer.headers["allow"]
    assert ask(registry, "GET", "/v2/kept/tags/list").body == b'{"name":"kept","tags":["latest"]}'


def test_configured_headers_are_on_every_answer_each_value_on_a_line(start_registry) -> None:
    headers = {"X-Content-Type-Options": ["nosniff"], "X-Several": ["one", "two"]}
    registry = start_registry(http={"headers": headers})
    for path in ("/v2/", "/v2/a/tags/list", "/nowhere", "/"):
        answer = registry.client.get(path)
        assert answer.headers.get_list("x-several") == ["one", "two"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_prefix_stands_before_every_route_and_in_locations(start_registry) -> None:
    registry = start_registry(http={"prefix": "/registry/"})
    assert ask(registry, "GET", "/registry/v2/").status == 200
    assert ask(registry, "GET", "/registry/v2").headers["location"] == "/registry/v2/"
    assert ask(registry, "GET", "/v2/").status == 404
    assert ask(registry, "GET", "/").status == 200
    location = ask(registry, "POST", "/registry/v2/a/blobs/uploads/", "Content-Length: 0").headers["location"]
    assert location.startswith("http://registry.test/registry/v2/a/blobs/uploads/")
    assert (
        registry.client.get(location.partition("?")[0].replace("registry.test", registry.host)).status_code
        == 204
    )


def test_openapi_describes_the_routes(registry) -> None:
    document = registry.client.get("/openapi.json").json()
    assert "/v2/{name}/manifests/{reference}" in document["paths"]


# Paths


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2//tags/list", "NAME_INVALID"),
        ("/v2/a//b/tags/list", "NAME_INVALID"),
        ("/v2/../../etc/tags/list", "NAME_INVALID"),
        ("/v2/a/../b/tags/list", "NAME_INVALID"),
        ("/v2/%2e%2e/tags/list", "NAME_INVALID"),
        ("/v2/..%2f..%2fetc/tags/list", "NAME_INVALID"),
        ("/v2/a%00/tags/list", "NAME_INVALID"),
        ("/v2/a%0d%0ax/tags/list", "NAME_INVALID"),
        ("/v2/a%252fb/tags/list", "NAME_INVALID"),
        ("/v2/%c3%a4/tags/list", "NAME_INVALID"),
        ("/v2/%ff/tags/list", "NAME_INVALID"),
        ("/v2/_manifests/tags/list", "NAME_INVALID"),
        ("/v2/A/tags/list", "NAME_INVALID"),
        (f"/v2/{'a' * 256}/tags/list", "NAME_INVALID"),
        ("/v2/a/manifests/..", "TAG_INVALID"),
        ("/v2/a/manifests/x%00", "TAG_INVALID"),
        ("/v2/a/manifests/x%0a", "TAG_INVALID"),
        ("/v2/a/manifests/", "TAG_INVALID"),
        (f"/v2/a/manifests/{'a' * 129}", "TAG_INVALID"),
        ("/v2/a/manifests/sha256:../../x", "NAME_UNKNOWN"),
        ("/v2/a/manifests/sha256:%2e%2e", "DIGEST_INVALID"),
        ("/v2/a/manifests/sha256:" + "A" * 64, "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:" + "a" * 63, "DIGEST_INVALID"),
        ("/v2/a/blobs/sha1:" + "a" * 40, "DIGEST_INVALID"),
        ("/v2/a/blobs/..", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256%3A" + "a" * 64 + "%00", "DIGEST_INVALID"),
    ],
)
def test_a_path_that_the_grammar_refuses_touches_no_storage(registry, path: str, code: str) -> None:
    before = registry.stored_paths()
    answer = ask(registry, "GET", path)
    assert (answer.status, answer.code) == (404 if code == "NAME_UNKNOWN" else 400, code)
    assert registry.stored_paths() == before


def test_a_path_is_decoded_once(registry, repository: str) -> None:
    registry.push_image(repository, "v1")
    encoded = "".join(f"%{ord(character):02x}" for character in repository)
    assert ask(registry, "GET", f"/v2/{encoded}/tags/%6cist").status == 200


def test_a_long_quoted_value_is_cut(registry) -> None:
    answer = ask(registry, "GET", f"/v2/{'A' * 20_000}/tags/list")
    assert answer.status == 400
    assert len(answer.body) < 2000


# Host


@pytest.mark.parametrize("host", ["", "evil.example/path", "a b", "user@evil.example", "x" * 300])
def test_a_request_with_a_malformed_host_is_refused(registry, host: str) -> None:
    answer = ask(registry, "GET", "/v2/", host=host)
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")


def test_a_request_without_host_or_with_two_is_refused_unless_it_is_http_1_0(registry) -> None:
    assert ask(registry, "GET", "/v2/", host=None).status == 400
    assert ask(registry, "GET", "/v2/", "Host: other").status == 400
    assert registry.raw(b"GET /v2/ HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_locations_name_the_host_that_was_asked(registry) -> None:
    path = "/v2/a/blobs/uploads/"
    answer = ask(registry, "POST", path, "Content-Length: 0", host="registry.example:8443")
    assert answer.headers["location"].startswith(f"http://registry.example:8443{path}")


def test_locations_name_what_a_trusted_proxy_forwards(registry) -> None:
    forwarded = ["X-Forwarded-Proto: https", "X-Forwarded-Host: pub.example"]
    answer = ask(registry, "POST", "/v2/a/blobs/uploads/", "Content-Length: 0", *forwarded)
    assert answer.headers["location"].startswith("https://pub.example/v2/")


def test_locations_do_not_follow_strangers(start_registry) -> None:
    registry = start_registry(http={"trustedproxies": ["10.0.0.0/8"]})
    forwarded = ["X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"]
    answer = ask(registry, "POST", "/v2/a/blobs/uploads/", "Content-Length: 0", *forwarded)
    assert answer.headers["location"].startswith("http://registry.test/v2/")


def test_relative_urls_have_no_origin(start_registry) -> None:
    registry = start_registry(http={"relativeurls": True})
    answer = ask(registry, "POST", "/v2/a/blobs/uploads/", "Content-Length: 0")
    assert answer.headers["location"].startswith("/v2/a/blobs/uploads/")


# Bodies and connections


def test_a_connection_serves_one_request_after_another(registry) -> None:
    with registry.connect() as connection:
        for _ in range(3):
            connection.sendall(request("GET", "/v2/a/tags/list"))
            assert Answer(connection).status == 404
            connection.sendall(request("HEAD", "/v2/"))
            assert Answer(connection, "HEAD").status == 200


def test_a_small_body_that_was_not_wanted_does_not_end_the_connection(registry) -> None:
    with registry.connect() as connection:
        connection.sendall(request("PUT", "/v2/A/manifests/x", "Content-Length: 6", body=b"unused"))
        answer = Answer(connection)
        assert (answer.status, answer.headers.get("connection")) == (400, None)
        connection.sendall(request("GET", "/v2/"))
        assert Answer(connection).status == 200


def test_an_endless_manifest_is_not_read_for_long(registry) -> None:
    piece = b"10000\r\n" + bytes(65536) + b"\r\n"
    sent = 0
    with registry.connect() as connection:
        connection.sendall(request("PUT", "/v2/a/manifests/x", "Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            while sent < 100_000_000:
                connection.sendall(piece)
                sent += len(piece)
    assert 4 * 2**20 < sent < 100_000_000


def test_the_refusal_of_an_endless_manifest_reaches_the_client(registry) -> None:
    piece = b"10000\r\n" + bytes(65536) + b"\r\n"
    with registry.connect() as connection:
        connection.sendall(request("PUT", "/v2/a/manifests/x", "Transfer-Encoding: chunked"))
        for _ in range(68):
            connection.sendall(piece)
        answer = Answer(connection)
        assert (answer.status, answer.code) == (413, "MANIFEST_INVALID")
        assert answer.headers["connection"] == "close"


def test_a_manifest_that_says_it_is_too_large_is_refused_unread(registry) -> None:
    with registry.connect() as connection:
        connection.sendall(request("PUT", "/v2/a/manifests/x", "Content-Length: 4194305"))
        answer = Answer(connection)
        assert (answer.status, answer.code, answer.headers["connection"]) == (
            413,
            "MANIFEST_INVALID",
            "close",
        )


def test_a_length_beyond_all_numbers_is_refused(registry, repository: str) -> None:
    path = registry.start_upload(repository).headers["location"].removeprefix(registry.url)
    for method in ("PATCH", "PUT"):
        target = f"{path}&digest=sha256:{'0' * 64}"
        with registry.connect() as connection:
            connection.sendall(request(method, target, "Content-Length: 9999999999999999999", OCTETS))
            answer = Answer(connection)
            assert (answer.status, answer.code) == (413, "SIZE_INVALID")


def test_a_body_that_is_framed_wrongly_is_refused_and_the_upload_goes_on(registry, repository: str) -> None:
    path = registry.start_upload(repository).headers["location"].removeprefix(registry.url)
    body = b"4\r\ndata\r\nNONSENSE\r\n"
    with registry.connect() as connection:
        connection.sendall(request("PATCH", path, "Transfer-Encoding: chunked", OCTETS, body=body))
        answer = Answer(connection)
        assert (answer.status, answer.code) == (400, "UNSUPPORTED")
        assert connection.recv(1) == b""
    deadline = time.monotonic() + 10
    while True:
        # What came before is kept; it is on its way while the refusal is.
        status = registry.client.get(path.partition("?")[0])
        if status.headers["range"] == "0-3" or time.monotonic() > deadline:
            break
    assert registry.client.patch(status.headers["location"], content=b"more").headers["range"] == "0-7"


def test_what_is_not_http_behind_a_request_does_not_end_up_in_its_answer(registry, repository: str) -> None:
    digest = registry.push_blob(repository, bytes(20_000_000))
    with registry.connect() as connection:
        connection.sendall(request("GET", f"/v2/{repository}/blobs/{digest}") + b"NONSENSE\r\n\r\n")
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 20):
                received += piece
    assert b"UNSUPPORTED" not in received
    assert len(received) < 20_000_000


def test_a_body_is_asked_for_only_when_it_is_wanted(registry, repository: str) -> None:
    location = registry.start_upload(repository).headers["location"]
    path = location.removeprefix(registry.url)
    expect = ["Expect: 100-continue", "Content-Length: 4", OCTETS]
    with registry.connect() as connection:
        connection.sendall(request("PATCH", path, *expect))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"data")
        assert Answer(connection).status == 202
    with registry.connect() as connection:
        connection.sendall(request("PATCH", path + "AAAA", *expect))
        answer = Answer(connection)
        # The client has not sent its body, and may not: the connection cannot go on.
        assert (answer.status, answer.headers["connection"]) == (404, "close")


def test_a_body_that_stops_coming_is_given_up_and_the_upload_goes_on(start_registry, repository: str) -> None:
    registry = start_registry(services={"blobtimeout": "500ms"})
    location = registry.start_upload(repository).headers["location"]
    path = location.removeprefix(registry.url)
    with registry.connect() as connection:
        connection.sendall(request("PATCH", path, "Content-Length: 10", OCTETS, body=b"four"))
        answer = Answer(connection)
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "SIZE_INVALID", "close")
    status = registry.client.get(path.partition("?")[0])
    assert (status.status_code, status.headers["range"]) == (204, "0-3")


def test_a_client_that_takes_nothing_is_given_up(start_registry, repository: str) -> None:
    registry = start_registry(services={"blobtimeout": "500ms"})
    digest = registry.push_blob(repository, bytes(30_000_000))
    with registry.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request("GET", f"/v2/{repository}/blobs/{digest}"))
        time.sleep(1.5)
        with pytest.raises(ConnectionResetError):
            read_to_the_end(connection)


def read_to_the_end(connection: socket.socket) -> None:
    while connection.recv(1 << 20):
        continue


@pytest.mark.parametrize(
    "head",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\nHost: h\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost h\r\n\r\n",
        b"GET /v2/\xff HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_an_envelope_and_the_connection_ends(registry, head: bytes) -> None:
    with registry.connect() as connection:
        connection.sendall(head)
        answer = Answer(connection)
        assert (answer.status, answer.code) == (400, "UNSUPPORTED")
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
        assert connection.recv(1) == b""


def test_a_head_that_does_not_come_is_given_up(start_registry) -> None:
    registry = start_registry(http={"limits": {"headtimeout": "300ms"}})
    for beginning in (b"", b"GET /v2/ HTTP/1.1\r\nHost:", request("GET", "/v2/") + b"GET /v2/ HT"):
        with registry.connect() as connection:
            connection.sendall(beginning)
            started = time.monotonic()
            read_to_the_end(connection)
            assert time.monotonic() - started < 5


def test_a_head_without_end_is_refused(registry) -> None:
    with registry.connect() as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Long: ")
        try:
            for _ in range(64):
                connection.sendall(b"x" * 65536)
        except OSError:
            return
        assert Answer(connection).status == 431


def test_an_offer_to_upgrade_is_left_aside(registry) -> None:
    upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]
    answer = ask(registry, "GET", "/v2/", *upgrade)
    assert (answer.status, answer.body) == (200, b"{}")
