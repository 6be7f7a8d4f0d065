"""Large layers and many clients: memory stays bounded, and what was pushed reads back."""

from __future__ import annotations

import hashlib
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from support.client import V2Client, expect
from support.images import make_image
from support.processes import peak_memory, reset_peak_memory
from support.registry import SERVICES, Up

GIB = 1 << 30
# How much more than before the transfer a service may hold while 2 GiB pass through it.
MEMORY_ALLOWANCE = 96 << 20
# What a service may hold for one client that does not read: a few messages of 1 MiB on their way.
MEMORY_PER_READER = 8 << 20


def two_gib() -> Iterator[bytes]:
    """2 GiB in pieces of 1 MiB, no two alike."""
    block = random.Random(40).randbytes(1 << 20)
    for number in range(2 * GIB >> 20):
        yield number.to_bytes(8, "big") + block[8:]


def peaks_from_now_on(moorage: Up) -> dict[str, int]:
    """What each service holds now, bytes; its peak counts from here."""
    peaks = {}
    for service in SERVICES:
        for process in moorage.workers(service):
            reset_peak_memory(process.pid)
        peaks[service] = peaks_together(moorage, service)
    return peaks


def peaks_together(moorage: Up, service: str) -> int:
    """The peaks of the processes that do a service's work, bytes."""
    return sum(peak_memory(process.pid) for process in moorage.workers(service))


def assert_bounded(moorage: Up, before: dict[str, int], allowance: int) -> None:
    for service in SERVICES:
        grown = peaks_together(moorage, service) - before[service]
        assert grown < allowance, f"{service} held {grown >> 20} MiB more than before"


@pytest.mark.timeout(600)
def test_a_2_gib_layer_passes_in_bounded_memory_in_both_directions(
    moorage: Up, client: V2Client, repository: str
) -> None:
    digest = hashlib.sha256()
    for piece in two_gib():
        digest.update(piece)
    name = f"sha256:{digest.hexdigest()}"
    # A transfer of ordinary size first, so that what counts is the blob's size.
    client.get_blob(repository, client.push_blob(repository, random.Random(41).randbytes(32 << 20)))
    before = peaks_from_now_on(moorage)

    answer = expect(client.start_upload(repository), 202)
    answer = expect(client.http.patch(client.location(answer), content=two_gib(), timeout=300), 202)
    expect(client.http.put(f"{client.location(answer)}&digest={name}", timeout=300), 201)
    pulled = hashlib.sha256()
    with client.http.stream("GET", f"/v2/{repository}/blobs/{name}", timeout=300) as answer:
        assert answer.headers["content-length"] == str(2 * GIB)
        for piece in answer.iter_bytes(1 << 20):
            pulled.update(piece)
    assert pulled.hexdigest() == digest.hexdigest()

    assert_bounded(moorage, before, MEMORY_ALLOWANCE)
    expect(client.http.delete(f"/v2/{repository}/blobs/{name}"), 202)


def test_clients_that_read_nothing_are_not_read_for(moorage: Up, client: V2Client, repository: str) -> None:
    digest = client.push_blob(repository, random.Random(42).randbytes(1 << 20) * 128)
    client.get_blob(repository, digest)
    before = peaks_from_now_on(moorage)
    request = f"GET /v2/{repository}/blobs/{digest} HTTP/1.1\r\nHost: {moorage.address}\r\n\r\n"
    with ExitStack() as connections:
        for _ in range(16):
            connection = socket.create_connection(("127.0.0.1", moorage.port), timeout=10)
            connections.enter_context(connection)
            connection.sendall(request.encode())
        time.sleep(3)  # 16 times 128 MiB would be in memory by now
        assert client.has_blob(repository, digest)
        assert_bounded(moorage, before, MEMORY_ALLOWANCE + 16 * MEMORY_PER_READER)


def test_32_clients_push_and_pull_at_once(moorage: Up, repository: str) -> None:
    shared = make_image(50, (500_000,))

    def one_client(number: int) -> None:
        own = make_image(1000 + number, (20_000, 300_000))
        with V2Client(moorage.url, timeout=120) as client:
            client.push_image(f"{repository}/{number % 4}", f"own-{number}", own)
            client.push_image(f"{repository}/shared", "latest", shared)
            client.assert_holds(f"{repository}/{number % 4}", f"own-{number}", own)
            client.assert_holds(f"{repository}/shared", "latest", shared)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one_client, range(32)))
    with V2Client(moorage.url) as client:
        tags = [
            tag
            for number in range(4)
            for tag in client.http.get(f"/v2/{repository}/{number}/tags/list").json()["tags"]
        ]
    assert sorted(tags) == sorted(f"own-{number}" for number in range(32))
