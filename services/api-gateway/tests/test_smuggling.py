"""Requests that two servers could read differently: no part of one is ever taken for another request.

Source: RFC 9112, sections 5 to 7 and 11.2.
"""

from __future__ import annotations

import contextlib

import pytest

# What an attacker hides behind a request. Whoever answers it was taken in.
HIDDEN = b"DELETE /v2/smuggled/manifests/x HTTP/1.1\r\nHost: h\r\n\r\n"


def ask(*fields: str, method: str = "POST", path: str = "/v2/a/blobs/uploads/") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *fields, "", ""]).encode("latin-1")


def answers(registry, request: bytes) -> list[int]:
    """The statuses of all that comes back until the server ends the connection, or says nothing more."""
    received = b""
    with registry.connect() as connection:
        connection.settimeout(20)
        connection.sendall(request)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while piece := connection.recv(65536):
                received += piece
                # What was answered as another request follows at once.
                connection.settimeout(0.5)
    return [int(each[:3]) for each in received.split(b"HTTP/1.1 ")[1:]]


CHUNKED_HIDDEN = b"0\r\n\r\n" + HIDDEN

AMBIGUOUS = {
    "a length and chunks": ask("Content-Length: 6", "Transfer-Encoding: chunked") + CHUNKED_HIDDEN,
    "chunks and a length": ask("Transfer-Encoding: chunked", "Content-Length: 6") + CHUNKED_HIDDEN,
    "two lengths": ask("Content-Length: 0", f"Content-Length: {len(HIDDEN)}") + HIDDEN,
    "two lengths in one field": ask(f"Content-Length: 0, {len(HIDDEN)}") + HIDDEN,
    "a negative length": ask("Content-Length: -1") + HIDDEN,
    "a length with a sign": ask(f"Content-Length: +{len(HIDDEN)}") + HIDDEN,
    "a length in hexadecimal": ask("Content-Length: 0x10") + HIDDEN,
    "a coding that is not chunks": ask("Transfer-Encoding: xchunked") + CHUNKED_HIDDEN,
    "chunks that are not the last coding": ask("Transfer-Encoding: chunked, identity") + CHUNKED_HIDDEN,
    "chunks twice": ask("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + CHUNKED_HIDDEN,
    "a name with a space behind it": ask("Transfer-Encoding : chunked") + CHUNKED_HIDDEN,
    "a name with a space before it": ask(" Transfer-Encoding: chunked") + CHUNKED_HIDDEN,
    "a field that goes on in the next line": ask("X-A: b\r\n Transfer-Encoding: chunked") + CHUNKED_HIDDEN,
    "a bare line feed in a field": ask("X-A: b\nTransfer-Encoding: chunked") + CHUNKED_HIDDEN,
    "a bare carriage return in a field": ask("X-A: b\rTransfer-Encoding: chunked") + CHUNKED_HIDDEN,
    "a null byte in a field": ask("X-A: b\0") + HIDDEN,
}


@pytest.mark.parametrize("request_", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_head_is_refused_and_what_hides_behind_it_is_not_answered(
    registry, request_: bytes
) -> None:
    statuses = answers(registry, request_)
    assert len(statuses) == 1, statuses
    assert 400 <= statuses[0] < 500
    assert registry.client.get("/v2/").status_code == 200


BROKEN = {
    "a chunk's size beyond all numbers": ask("Transfer-Encoding: chunked") + b"f" * 17 + b"\r\n" + HIDDEN,
    "a chunk's size with a sign": ask("Transfer-Encoding: chunked") + b"-1\r\n" + HIDDEN,
    "a chunk without its end": ask("Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN)
def test_what_hides_behind_a_broken_body_is_not_answered(registry, request_: bytes) -> None:
    # The request itself wants no body, and is answered whatever that is.
    assert answers(registry, request_) in ([202], [400])
    # One that reads its body sees that it is broken.
    read = request_.replace(b"POST /v2/a/blobs/uploads/", b"PUT /v2/a/manifests/x")
    assert answers(registry, read) == [400]


BODIES = {
    "by its length": ask(f"Content-Length: {len(HIDDEN)}") + HIDDEN,
    "in chunks": ask("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
}


@pytest.mark.parametrize("request_", BODIES.values(), ids=BODIES)
def test_a_body_that_looks_like_a_request_is_a_body(registry, request_: bytes) -> None:
    assert answers(registry, request_) == [202]


@pytest.mark.parametrize("lent", [True, False], ids=["lent", "through the gateway"])
def test_an_upload_s_body_that_looks_like_a_request_is_stored(
    registry, start_registry, repository: str, lent: bool
) -> None:
    used = registry if lent else start_registry(services={"blob": {"channel": "off"}})
    path = used.start_upload(repository).headers["location"].removeprefix(used.url)
    octets = "Content-Type: application/octet-stream"
    request_ = ask(f"Content-Length: {len(HIDDEN)}", octets, method="PATCH", path=path) + HIDDEN
    assert answers(used, request_) == [202]
    stored = used.client.get(path.partition("?")[0]).headers["range"]
    assert stored == f"0-{len(HIDDEN) - 1}"


def test_only_http_1_is_spoken(registry) -> None:
    """Neither HTTP/2 at once nor an upgrade to it: no streams to open and reset by the thousand."""
    with registry.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    assert received == b"" or received.startswith(b"HTTP/1.1 4")
    upgrade = ask("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    assert 101 not in answers(
        registry, upgrade.replace(b"POST", b"GET").replace(b"/v2/a/blobs/uploads/", b"/v2/")
    )
