"""Uploads that are cut, resumed, repeated and moved between instances."""

from __future__ import annotations

import random
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx

from support.client import V2Client, error_codes, expect
from support.images import digest_of
from support.processes import wait_until
from support.registry import Stack, Up

CONTENT = random.Random(30).randbytes(3_000_000)


def send_half_a_patch(address: str, path: str, content: bytes) -> None:
    """A client that promises more than it sends, and is cut off."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {len(CONTENT)}\r\n\r\n".encode()
            + content
        )
        connection.shutdown(socket.SHUT_WR)


def test_an_upload_whose_client_was_cut_is_resumed_where_it_stopped(
    moorage: Up, client: V2Client, repository: str
) -> None:
    answer = expect(client.start_upload(repository), 202)
    url = httpx.URL(client.location(answer))
    send_half_a_patch(moorage.address, url.raw_path.decode(), CONTENT[:1_000_000])
    status: httpx.Response = answer

    def arrived() -> bool:
        nonlocal status
        status = expect(client.http.get(url), 204)
        return status.headers["range"] == "0-999999"

    wait_until(arrived, timeout=20, what="what the client sent before it was cut is kept")
    answer = expect(client.http.patch(client.location(status), content=CONTENT[1_000_000:]), 202)
    digest = digest_of(CONTENT)
    expect(client.http.put(f"{client.location(answer)}&digest={digest}"), 201)
    assert client.get_blob(repository, digest) == CONTENT


def test_chunks_with_ranges_are_taken_in_order_only(client: V2Client, repository: str) -> None:
    answer = expect(client.start_upload(repository), 202)
    answer = expect(
        client.http.patch(
            client.location(answer), content=CONTENT[:1000], headers={"content-range": "0-999"}
        ),
        202,
    )
    for wrong in ("0-999", "2000-2999"):
        refused = expect(
            client.http.patch(
                client.location(answer), content=CONTENT[:1000], headers={"content-range": wrong}
            ),
            416,
        )
        assert refused.headers["range"] == "0-999"
        answer = refused  # the client goes on from what the refusal says
    answer = expect(
        client.http.patch(
            client.location(answer), content=CONTENT[1000:2000], headers={"content-range": "1000-1999"}
        ),
        202,
    )
    digest = digest_of(CONTENT[:2500])
    expect(
        client.http.put(
            f"{client.location(answer)}&digest={digest}",
            content=CONTENT[2000:2500],
            headers={"content-range": "2000-2499"},
        ),
        201,
    )
    assert client.get_blob(repository, digest) == CONTENT[:2500]


def test_of_two_patches_at_one_offset_one_wins(client: V2Client, repository: str) -> None:
    answer = expect(client.start_upload(repository), 202)
    url = client.location(answer)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda part: httpx.patch(url, content=part, timeout=60), [CONTENT, CONTENT]))
    assert sorted(answer.status_code for answer in answers) == [202, 416]
    assert expect(client.http.get(url), 204).headers["range"] == f"0-{len(CONTENT) - 1}"


def test_a_wrong_digest_is_refused_and_stores_nothing(client: V2Client, repository: str) -> None:
    wrong = digest_of(b"something else")
    answer = expect(client.start_upload(repository), 202)
    answer = expect(client.http.patch(client.location(answer), content=b"content"), 202)
    refused = expect(client.http.put(f"{client.location(answer)}&digest={wrong}"), 400)
    assert error_codes(refused) == ["DIGEST_INVALID"]
    assert not client.has_blob(repository, wrong)
    assert not client.has_blob(repository, digest_of(b"content"))


def test_a_commit_without_a_digest_leaves_the_upload_usable(client: V2Client, repository: str) -> None:
    answer = expect(client.start_upload(repository), 202)
    answer = expect(client.http.patch(client.location(answer), content=b"content"), 202)
    assert error_codes(expect(client.http.put(client.location(answer)), 400)) == ["DIGEST_INVALID"]
    expect(client.http.put(f"{client.location(answer)}&digest={digest_of(b'content')}"), 201)


def test_a_cancelled_upload_is_unknown(client: V2Client, repository: str) -> None:
    answer = expect(client.start_upload(repository), 202)
    expect(client.http.delete(client.location(answer)), 204)
    assert error_codes(expect(client.http.get(client.location(answer)), 404)) == ["BLOB_UPLOAD_UNKNOWN"]


def test_an_upload_belongs_to_its_repository(client: V2Client, repository: str) -> None:
    answer = expect(client.start_upload(f"{repository}/mine"), 202)
    elsewhere = client.location(answer).replace("/mine/", "/yours/")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        expect(client.http.request(method, elsewhere), 400, 404)
    expect(client.http.get(client.location(answer)), 204)


def test_an_upload_goes_on_after_its_blob_service_was_killed(stack: Stack) -> None:
    with V2Client(stack.url) as client:
        answer = expect(client.start_upload("team/app"), 202)
        answer = expect(client.http.patch(client.location(answer), content=CONTENT[:2_000_000]), 202)
        stack.kill("blob")
        stack.start("blob")
        stack.wait_ready()
        answer = expect(client.http.patch(client.location(answer), content=CONTENT[2_000_000:]), 202)
        digest = digest_of(CONTENT)
        expect(client.http.put(f"{client.location(answer)}&digest={digest}"), 201)
        assert client.get_blob("team/app", digest) == CONTENT


def test_an_upload_goes_on_through_another_gateway_and_blob_service(stack: Stack) -> None:
    """Nothing of an upload lives in one process only: a second pair on the same storage continues it."""
    with stack.another() as other, V2Client(stack.url) as here, V2Client(other.url) as there:
        answer = expect(here.start_upload("team/app"), 202)
        answer = expect(here.http.patch(here.location(answer), content=CONTENT[:1_000_000]), 202)
        moved = here.location(answer).replace(stack.url, other.url)
        answer = expect(there.http.patch(moved, content=CONTENT[1_000_000:]), 202)
        back = there.location(answer).replace(other.url, stack.url)
        digest = digest_of(CONTENT)
        expect(here.http.put(f"{back}&digest={digest}"), 201)
        assert there.get_blob("team/app", digest) == CONTENT
