from __future__ import annotations

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.clients.connection import Connection, parse_head
from bench.clients.work import WrongAnswerError
from bench.content import CHUNK, Blob
from bench.operations.transfers import size_name


def sent_by(blob: Blob) -> bytes:
    """What a blob puts on the wire."""
    ours, theirs = socket.socketpair()

    def read() -> bytes:
        with theirs.makefile("rb") as stream:
            return stream.read()

    with ThreadPoolExecutor(1) as pool, theirs:
        received = pool.submit(read)
        with ours:
            blob.send_chunked(ours)
        return received.result()


def unframed(wire: bytes) -> tuple[list[bytes], bytes]:
    """The chunks of a body, and what comes after it."""
    chunks: list[bytes] = []
    while True:
        length, _, wire = wire.partition(b"\r\n")
        chunk, wire = wire[: int(length, 16)], wire[int(length, 16) :]
        assert wire.startswith(b"\r\n")
        wire = wire[2:]
        if not chunk:
            return chunks, wire
        chunks.append(chunk)


@pytest.mark.parametrize("chunks", [1, 2, 32, 33, 34, 97])
def test_a_blob_is_sent_in_chunks_like_docker_s_and_has_the_digest_that_it_says(chunks: int) -> None:
    blob = Blob(chunks * CHUNK)
    sent, rest = unframed(sent_by(blob))
    assert [len(chunk) for chunk in sent] == [CHUNK] * chunks
    assert rest == b""
    assert f"sha256:{hashlib.sha256(b''.join(sent)).hexdigest()}" == blob.digest


def test_no_two_blobs_are_alike() -> None:
    assert len({Blob(3 * CHUNK).digest for _ in range(50)}) == 50


@pytest.mark.parametrize("size", [0, CHUNK - 1, CHUNK + 1])
def test_a_size_that_is_not_whole_chunks_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        Blob(size)


def test_a_head_is_parsed_with_its_names_in_lower_case() -> None:
    assert parse_head(b"HTTP/1.1 202 Accepted\r\nLocation: /v2/a:b\r\nX-Empty:") == (
        202,
        {"location": "/v2/a:b", "x-empty": ""},
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200",
    ],
    ids=["another status", "another length", "cut short", "no length", "cut in the head"],
)
def test_a_pull_with_a_wrong_answer_is_noticed(answer: bytes) -> None:
    with pytest.raises(WrongAnswerError):
        pull_from(answer)


def test_a_pull_is_right_when_status_and_length_are() -> None:
    pull_from(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd")


def pull_from(answer: bytes) -> None:
    """Pull four bytes from a server that gives this answer and ends."""

    def serve() -> None:
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(65536)
            accepted.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        with Connection(listener.getsockname(), timeout=10) as connection:
            connection.get_and_discard("/v2/a/blobs/b", 4)
        served.result()


def test_a_size_is_named_in_the_largest_unit_that_divides_it() -> None:
    names = [size_name(size) for size in (2 << 30, 256 << 20, 1536 << 20, 2048, 3)]
    assert names == ["2 GiB", "256 MiB", "1536 MiB", "2 KiB", "3 bytes"]
