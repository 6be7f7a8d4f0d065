"""Uploads over HTTP."""

from __future__ import annotations

import hashlib
import re
import socket
import time
import uuid

import httpx
import pytest

OCTETS = {"Content-Type": "application/octet-stream"}
EMPTY = hashlib.sha256(b"").hexdigest()


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def send(
    registry, method: str, location: str, *, query: dict[str, str] | None = None, **options
) -> httpx.Response:
    """A request to an upload's Location."""
    params = {**httpx.URL(location).params, **(query or {})}
    return registry.client.request(method, location, params=params, **options)


def close(registry, location: str, content: bytes, body: bytes = b"", **headers: str) -> httpx.Response:
    query = {"digest": digest_of(content)}
    return send(registry, "PUT", location, query=query, content=body, headers=headers)


def stored(registry, repository: str, content: bytes) -> bool:
    answer = registry.client.get(f"/v2/{repository}/blobs/{digest_of(content)}")
    return answer.status_code == 200 and answer.content == content


def code_of(answer: httpx.Response) -> str:
    return answer.json()["errors"][0]["code"]


@pytest.fixture
def location(registry, repository: str) -> str:
    """A fresh upload."""
    return registry.start_upload(repository).headers["location"]


def test_an_upload_begins_with_a_place_of_its_own(registry, repository: str) -> None:
    answer = registry.start_upload(repository)
    upload = answer.headers["docker-upload-uuid"]
    assert str(uuid.UUID(upload)) == upload
    path = re.escape(f"{registry.url}/v2/{repository}/blobs/uploads/{upload}?_state=")
    assert re.fullmatch(path + r"[A-Za-z0-9_%-]+", answer.headers["location"])
    assert (answer.headers["range"], answer.headers["content-length"]) == ("0-0", "0")


def test_a_blob_is_pushed_in_one_piece_after_another(registry, repository: str, location: str) -> None:
    pieces = [b"first", b"second piece", b"third"]
    received = 0
    for piece in pieces:
        headers = {**OCTETS, "Content-Range": f"{received}-{received + len(piece) - 1}"}
        answer = send(registry, "PATCH", location, content=piece, headers=headers)
        received += len(piece)
        assert answer.status_code == 202
        assert answer.headers["range"] == f"0-{received - 1}"
        location = answer.headers["location"]
    answer = close(registry, location, b"".join(pieces))
    assert answer.status_code == 201
    digest = digest_of(b"".join(pieces))
    assert answer.headers["location"] == f"{registry.url}/v2/{repository}/blobs/{digest}"
    assert answer.headers["docker-content-digest"] == digest
    assert stored(registry, repository, b"".join(pieces))


def test_a_blob_is_streamed_without_a_length(registry, repository: str, location: str) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(12)]
    answer = send(registry, "PATCH", location, content=iter(pieces), headers=OCTETS)
    assert answer.headers["range"] == "0-3599999"
    assert close(registry, answer.headers["location"], b"".join(pieces)).status_code == 201
    assert stored(registry, repository, b"".join(pieces))


def test_the_last_piece_may_come_with_the_closing_request(registry, repository: str, location: str) -> None:
    answer = send(registry, "PATCH", location, content=b"first ")
    headers = {"Content-Range": "6-9"}
    assert close(registry, answer.headers["location"], b"first last", b"last", **headers).status_code == 201
    assert stored(registry, repository, b"first last")


def test_the_closing_request_may_bring_everything(registry, repository: str, location: str) -> None:
    assert close(registry, location, b"everything", b"everything").status_code == 201
    assert stored(registry, repository, b"everything")


def test_the_location_of_a_blob_closed_by_sha512_is_by_sha512(registry, repository: str) -> None:
    location = registry.start_upload(repository, **{"digest-algorithm": "sha512"}).headers["location"]
    digest = digest_of(b"content", "sha512")
    answer = send(registry, "PUT", location, query={"digest": digest}, content=b"content")
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"/blobs/{digest}")
    assert answer.headers["docker-content-digest"] == digest


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_is_pushed_whole_in_one_request(registry, repository: str, algorithm: str) -> None:
    digest = digest_of(b"whole", algorithm)
    path = f"/v2/{repository}/blobs/uploads/"
    answer = registry.client.post(path, params={"digest": digest}, content=b"whole", headers=OCTETS)
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"/v2/{repository}/blobs/{digest}")
    assert registry.client.get(answer.headers["location"]).content == b"whole"


def test_a_whole_blob_of_another_digest_is_not_stored(registry, repository: str) -> None:
    digest = digest_of(b"whole")
    path = f"/v2/{repository}/blobs/uploads/"
    answer = registry.client.post(path, params={"digest": digest}, content=b"other")
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    assert registry.client.get(f"/v2/{repository}/blobs/{digest}").status_code == 404
    assert registry.client.get(f"/v2/{repository}/blobs/{digest_of(b'other')}").status_code == 404


def test_a_digest_without_a_body_begins_an_upload_unless_it_is_of_nothing(registry, repository: str) -> None:
    path = f"/v2/{repository}/blobs/uploads/"
    assert registry.client.post(path, params={"digest": digest_of(b"later")}).status_code == 202
    for algorithm in ("sha256", "sha512"):
        answer = registry.client.post(path, params={"digest": digest_of(b"", algorithm)})
        assert answer.status_code == 201
        assert registry.client.get(answer.headers["location"]).content == b""


@pytest.mark.parametrize(
    "query",
    ["digest=sha256:x", "digest=", "digest=md5:d41d8cd98f00b204e9800998ecf8427e", "digest-algorithm=md5"],
)
def test_a_digest_that_cannot_be_read_begins_nothing(registry, repository: str, query: str) -> None:
    before = registry.stored_paths()
    answer = registry.client.post(f"/v2/{repository}/blobs/uploads/?{query}")
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    assert registry.stored_paths() == before


# Mount


def test_a_blob_is_mounted_from_a_repository_that_links_it(registry, repository: str) -> None:
    digest = registry.push_blob(repository, b"to be mounted")
    target = f"{repository}/target"
    query = {"mount": digest, "from": repository}
    answer = registry.client.post(f"/v2/{target}/blobs/uploads/", params=query)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{registry.url}/v2/{target}/blobs/{digest}"
    assert answer.headers["docker-content-digest"] == digest
    assert stored(registry, target, b"to be mounted")


@pytest.mark.parametrize("source", ["", "no/such/repository", "UPPER", "../etc", "{repository}/other"])
@pytest.mark.parametrize("known", [True, False])
def test_what_cannot_be_mounted_begins_an_upload_and_tells_nothing(
    registry, repository: str, source: str, known: bool
) -> None:
    digest = registry.push_blob(repository, uuid.uuid4().bytes) if known else digest_of(uuid.uuid4().bytes)
    query = {"mount": digest, "from": source.format(repository=repository)}
    if not source:
        del query["from"]
    answer = registry.start_upload(f"{repository}/target", **query)
    assert answer.headers["range"] == "0-0"
    assert registry.client.get(f"/v2/{repository}/target/blobs/{digest}").status_code == 404


def test_a_mount_of_a_digest_that_cannot_be_read_begins_an_upload(registry, repository: str) -> None:
    registry.start_upload(repository, mount="sha256:x", **{"from": repository})


# Where an upload stands


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_status_needs_no_state_and_gives_a_fresh_one(
    registry, repository: str, location: str, method: str
) -> None:
    send(registry, "PATCH", location, content=b"twelve bytes")
    plain = location.partition("?")[0]
    answer = registry.client.request(method, plain)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["range"] == "0-11"
    assert answer.headers["docker-upload-uuid"] in plain
    assert "content-length" not in answer.headers
    assert close(registry, answer.headers["location"], b"twelve bytes").status_code == 201


def test_of_two_pieces_for_one_place_one_wins_and_the_other_learns_where_to_go_on(
    registry, repository: str, location: str
) -> None:
    assert send(registry, "PATCH", location, content=b"winner").status_code == 202
    late = send(registry, "PATCH", location, content=b"loser")
    assert (late.status_code, code_of(late)) == (416, "RANGE_INVALID")
    assert late.headers["range"] == "0-5"
    answer = send(registry, "PATCH", late.headers["location"], content=b" goes on")
    assert answer.status_code == 202
    assert close(registry, answer.headers["location"], b"winner goes on").status_code == 201


@pytest.mark.parametrize(
    "content_range", ["6-9", "0-3", "bytes 5-8", "bytes=5-8", "5-8/9", "x", "5-", "8-5", "-5"]
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_piece_out_of_place_is_refused_with_the_place_to_go_on(
    registry, repository: str, location: str, method: str, content_range: str
) -> None:
    location = send(registry, "PATCH", location, content=b"first").headers["location"]
    headers = {**OCTETS, "Content-Range": content_range}
    query = {"digest": digest_of(b"firstmore")}
    answer = send(registry, method, location, query=query, content=b"more", headers=headers)
    assert (answer.status_code, code_of(answer)) == (416, "RANGE_INVALID")
    assert answer.headers["range"] == "0-4"
    assert close(registry, answer.headers["location"], b"firstmore", b"more").status_code == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_piece_that_announces_another_length_than_its_range_is_not_taken(
    registry, location: str, method: str
) -> None:
    query, headers = {"digest": digest_of(b"four")}, {**OCTETS, "Content-Range": "0-9"}
    answer = send(registry, method, location, query=query, content=b"four", headers=headers)
    assert (answer.status_code, code_of(answer)) == (400, "SIZE_INVALID")
    status = registry.client.get(location.partition("?")[0])
    assert (status.status_code, status.headers["range"]) == (204, "0-0")
    assert close(registry, status.headers["location"], b"content", b"content").status_code == 201


@pytest.mark.parametrize(("body", "kept"), [(b"four", 4), (b"twelve bytes", 10)])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_piece_that_proves_to_be_of_another_length_than_its_range_is_kept_as_far_as_it_fits(
    registry, location: str, method: str, body: bytes, kept: int
) -> None:
    query, headers = {"digest": digest_of(body)}, {**OCTETS, "Content-Range": "0-9"}
    answer = send(registry, method, location, query=query, content=iter([body]), headers=headers)
    assert (answer.status_code, code_of(answer)) == (400, "SIZE_INVALID")
    assert answer.headers["range"] == f"0-{kept - 1}"
    content = body[:kept] + b" and more"
    assert close(registry, answer.headers["location"], content, b" and more").status_code == 201


def test_an_empty_piece_changes_nothing(registry, location: str) -> None:
    answer = send(registry, "PATCH", location, content=b"")
    assert (answer.status_code, answer.headers["range"]) == (202, "0-0")


@pytest.mark.parametrize("query", [{}, {"digest": ""}, {"digest": "sha256:x"}, {"digest": "md5:" + "0" * 32}])
def test_a_closing_digest_that_cannot_be_read_leaves_the_upload_as_it_was(
    registry, repository: str, location: str, query: dict[str, str]
) -> None:
    answer = send(registry, "PUT", location, query=query, content=b"not taken")
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    assert close(registry, location, b"content", b"content").status_code == 201


def test_a_closing_digest_that_the_content_does_not_have_drops_the_upload(
    registry, repository: str, location: str
) -> None:
    answer = close(registry, location, b"promised", b"delivered")
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    assert not stored(registry, repository, b"promised")
    assert not stored(registry, repository, b"delivered")
    assert code_of(registry.client.get(location.partition("?")[0])) == "BLOB_UPLOAD_UNKNOWN"


def test_a_cancelled_upload_is_unknown(registry, location: str) -> None:
    location = send(registry, "PATCH", location, content=b"data").headers["location"]
    answer = send(registry, "DELETE", location)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["docker-upload-uuid"] in location
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        query = {"digest": digest_of(b"data")} if method == "PUT" else {}
        again = send(registry, method, location, query=query)
        assert (again.status_code, code_of(again)) == (404, "BLOB_UPLOAD_UNKNOWN"), method


@pytest.mark.parametrize(
    "upload", ["..", ".", "x", "a" * 300, "%2e%2e", "00000000-0000-0000-0000-00000000000g"]
)
def test_an_id_that_the_registry_never_gave_is_unknown_and_touches_no_storage(
    registry, repository: str, upload: str
) -> None:
    before = registry.stored_paths()
    # httpx would fold the dots away.
    path = f"/v2/{repository}/blobs/uploads/{upload}"
    answer = registry.raw(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"BLOB_UPLOAD_UNKNOWN" in answer
    assert registry.stored_paths() == before


# State


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_state_that_was_not_signed_for_this_upload_is_refused(
    registry, repository: str, location: str, method: str
) -> None:
    other_repository = f"{repository}/other"
    elsewhere = registry.start_upload(other_repository).headers["location"]
    another = registry.start_upload(repository).headers["location"]
    plain, _, state = location.partition("?_state=")
    foreign = location.replace(f"/{repository}/", f"/{other_repository}/")
    attempts = {
        "none": plain,
        "garbage": f"{plain}?_state=garbage",
        "of another repository": f"{plain}?{elsewhere.partition('?')[2]}",
        "of another upload": f"{plain}?{another.partition('?')[2]}",
        "in another repository": foreign,
        "changed": f"{plain}?_state={state[:-6]}AAAAAA",
    }
    for what, target in attempts.items():
        answer = send(registry, method, target, query={"digest": digest_of(b"x")}, content=b"x")
        assert (answer.status_code, code_of(answer)) == (404, "BLOB_UPLOAD_INVALID"), what
    assert registry.client.get(plain).headers["range"] == "0-0"


def test_an_upload_of_one_repository_is_unknown_in_another(registry, repository: str, location: str) -> None:
    foreign = location.partition("?")[0].replace(f"/{repository}/", f"/{repository}/other/")
    answer = registry.client.get(foreign)
    assert (answer.status_code, code_of(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


# Limits and types


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_piece_of_another_type_is_refused(registry, location: str, content_type: str) -> None:
    answer = send(registry, "PATCH", location, content=b"a=b", headers={"Content-Type": content_type})
    assert (answer.status_code, code_of(answer)) == (415, "UNSUPPORTED")
    assert send(registry, "PATCH", location, content=b"a=b").status_code == 202


def test_a_blob_larger_than_the_limit_is_refused_however_it_comes(start_registry, repository: str) -> None:
    registry = start_registry(http={"limits": {"uploadsize": 1000}})
    for body in (bytes(1001), iter([bytes(600), bytes(401)])):
        location = registry.start_upload(repository).headers["location"]
        answer = send(registry, "PATCH", location, content=body, headers=OCTETS)
        assert (answer.status_code, code_of(answer)) == (413, "SIZE_INVALID")
    location = registry.start_upload(repository).headers["location"]
    location = send(registry, "PATCH", location, content=bytes(600)).headers["location"]
    assert code_of(send(registry, "PATCH", location, content=bytes(401))) == "SIZE_INVALID"
    assert close(registry, location, bytes(1000), bytes(400)).status_code == 201


# The client goes away


def head_of(registry, method: str, location: str, *headers: str) -> bytes:
    url = httpx.URL(location)
    lines = [f"{method} {url.raw_path.decode()} HTTP/1.1", f"Host: {registry.host}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def wait_for_range(registry, location: str, least: int) -> httpx.Response:
    """The status of an upload once it holds so many bytes."""
    plain = location.partition("?")[0]
    deadline = time.monotonic() + 15
    while True:
        status = registry.client.get(plain)
        assert status.status_code == 204
        if int(status.headers["range"].partition("-")[2]) + 1 >= least or time.monotonic() > deadline:
            return status
        time.sleep(0.05)


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("pause", [0, 0.3])
def test_what_arrived_before_the_client_went_away_is_kept_and_the_upload_goes_on(
    registry, repository: str, location: str, method: str, framing: str, pause: float
) -> None:
    content = hashlib.shake_256(repository.encode()).digest(1_000_000)
    digest = digest_of(content)
    target = f"{location}&digest={digest}" if method == "PUT" else location
    part = content[:600_000]
    with registry.connect() as connection:
        connection.sendall(head_of(registry, method, target, framing))
        connection.sendall(b"f4240\r\n" + part if "chunked" in framing else part)
        time.sleep(pause)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    status = wait_for_range(registry, location, len(part))
    assert status.headers["range"] == f"0-{len(part) - 1}"
    answer = close(registry, status.headers["location"], content, content[len(part) :])
    assert answer.status_code == 201, answer.text
    assert stored(registry, repository, content)


def test_a_client_that_sends_everything_and_does_not_wait_has_pushed(
    registry, repository: str, location: str
) -> None:
    content = repository.encode() * 1000
    target = f"{location}&digest={digest_of(content)}"
    with registry.connect() as connection:
        head = head_of(registry, "PUT", target, f"Content-Length: {len(content)}")
        connection.sendall(head + content)
    deadline = time.monotonic() + 10
    while not stored(registry, repository, content) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stored(registry, repository, content)


def test_a_whole_push_that_was_cut_short_stores_nothing(registry, repository: str) -> None:
    content = b"cut short"
    path = f"{registry.url}/v2/{repository}/blobs/uploads/?digest={digest_of(content)}"
    with registry.connect() as connection:
        connection.sendall(head_of(registry, "POST", path, "Content-Length: 9") + content[:5])
    time.sleep(0.2)
    assert not stored(registry, repository, content)
