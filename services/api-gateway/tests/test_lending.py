"""Connections that are lent to the blob service: they come back, or end, as HTTP has it.

The blob service here is real; where one has to die in mid-loan, a data socket that is played takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api_gateway.clients.channel import ChannelUnavailableError
from api_gateway.clients.channel.lending import LendingChannel
from api_gateway.connection import LentBody
from moorage.channel import FrameBuffer, pack_frame
from moorage.v1 import blob_pb2

MIB = 1 << 20
CONTENT = os.urandom(MIB) * 3
OCTETS = "Content-Type: application/octet-stream"


@pytest.fixture(scope="module")
def blob(registry) -> str:
    """The path of a blob that is too large to be kept in memory."""
    return f"/v2/tests/lending/blobs/{registry.push_blob('tests/lending', CONTENT)}"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: registry.test", *fields, "", ""]).encode()


def chunked(content: bytes, size: int = 32768) -> bytes:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Reader:
    """Reads answers one after the other from one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        text, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        status = int(first.split()[1])
        fields = dict(line.split(": ", 1) for line in lines)
        length = 0 if status in (100, 204, 304) else int(fields["content-length"])
        while len(self._buffer) < length:
            self._receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return status, fields, body

    def rest(self) -> bytes:
        with contextlib.suppress(EOFError):
            while True:
                self._receive()
        return self._buffer

    def _receive(self) -> None:
        data = self._connection.recv(MIB)
        if not data:
            raise EOFError
        self._buffer += data


def upload_path(registry, repository: str) -> str:
    location = registry.start_upload(repository).headers["location"]
    return httpx.URL(location).raw_path.decode()


# A connection comes back


def test_pulls_follow_each_other_on_one_connection(registry, blob: str) -> None:
    with registry.connect() as connection:
        reader = Reader(connection)
        for _ in range(3):
            connection.sendall(head("GET", blob))
            status, _, body = reader.answer()
            assert (status, body == CONTENT) == (200, True)
        connection.sendall(head("GET", "/v2/"))
        assert reader.answer()[2] == b"{}"


def test_requests_sent_behind_a_pull_are_answered_in_order(registry, blob: str) -> None:
    with registry.connect() as connection:
        reader = Reader(connection)
        connection.sendall(head("GET", blob) + head("GET", "/v2/") + head("GET", blob) + head("GET", "/v2/"))
        assert [len(reader.answer()[2]) for _ in range(4)] == [len(CONTENT), 2, len(CONTENT), 2]


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("behind", [b"", head("GET", "/v2/")])
def test_a_connection_goes_on_after_a_push(registry, repository: str, framing: str, behind: bytes) -> None:
    path = upload_path(registry, repository)
    field = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(CONTENT)}"
    body = chunked(CONTENT) if framing == "chunked" else CONTENT
    with registry.connect() as connection:
        reader = Reader(connection)
        # The next request comes in one piece with the body's end.
        connection.sendall(head("PATCH", path, field, OCTETS) + body + behind)
        status, fields, _ = reader.answer()
        assert (status, fields["range"]) == (202, f"0-{len(CONTENT) - 1}")
        if not behind:
            connection.sendall(head("GET", "/v2/"))
        assert reader.answer()[2] == b"{}"


def test_a_small_body_that_came_with_its_head_and_the_next_request_is_taken(
    registry, repository: str
) -> None:
    path = upload_path(registry, repository)
    with registry.connect() as connection:
        reader = Reader(connection)
        request = head("PATCH", path, "Transfer-Encoding: chunked", OCTETS) + chunked(b"small")
        connection.sendall(request + head("GET", "/v2/") + head("GET", "/v2/"))
        assert reader.answer()[1]["range"] == "0-4"
        assert [reader.answer()[2] for _ in range(2)] == [b"{}", b"{}"]


def test_a_head_that_comes_byte_by_byte_is_cut_where_it_ends(registry, repository: str) -> None:
    path = upload_path(registry, repository)
    with registry.connect() as connection:
        for byte in head("PATCH", path, "Content-Length: 5", OCTETS):
            connection.sendall(bytes([byte]))
        connection.sendall(b"small")
        assert Reader(connection).answer()[1]["range"] == "0-4"


def test_a_client_that_waits_for_100_continue_is_told_to_go_on_once(registry, repository: str) -> None:
    path = upload_path(registry, repository)
    with registry.connect() as connection:
        reader = Reader(connection)
        connection.sendall(
            head("PATCH", path, f"Content-Length: {len(CONTENT)}", OCTETS, "Expect: 100-continue")
        )
        assert reader.answer()[0] == 100
        connection.sendall(CONTENT)
        assert reader.answer()[0] == 202


def test_a_refusal_before_the_body_was_read_keeps_the_connection(registry, repository: str) -> None:
    path = upload_path(registry, repository)
    with registry.connect() as connection:
        reader = Reader(connection)
        for _ in range(2):
            # The second one is at an offset where the upload no longer is.
            connection.sendall(head("PATCH", path, "Content-Length: 5", OCTETS) + b"small")
            status = reader.answer()[0]
        assert status == 416
        connection.sendall(head("GET", "/v2/"))
        assert reader.answer()[2] == b"{}"


def test_a_client_that_asked_to_close_is_closed_after_a_pull(registry, blob: str) -> None:
    with registry.connect() as connection:
        reader = Reader(connection)
        connection.sendall(head("GET", blob, "Connection: close"))
        status, fields, body = reader.answer()
        assert (status, fields["connection"], body == CONTENT) == (200, "close", True)
        assert reader.rest() == b""


# A connection ends


def test_a_client_that_leaves_in_mid_pull_costs_nobody_else_anything(registry, blob: str) -> None:
    for _ in range(20):
        with registry.connect() as connection:
            connection.sendall(head("GET", blob))
            connection.recv(1000)
    assert registry.client.get(blob).content == CONTENT


def test_a_body_shorter_than_its_length_is_kept_and_never_committed(registry, repository: str) -> None:
    path = upload_path(registry, repository)
    digest = "sha256:" + "0" * 64
    with registry.connect() as connection:
        connection.sendall(head("PUT", f"{path}&digest={digest}", "Content-Length: 2000000", OCTETS))
        connection.sendall(bytes(1_500_000))
    plain = path.partition("?")[0]
    deadline = time.monotonic() + 10
    while (status := registry.client.get(plain)).headers.get("range") != "0-1499999":
        assert time.monotonic() < deadline, status.headers
        time.sleep(0.05)


def test_a_slow_reader_gets_every_byte(registry, blob: str) -> None:
    with registry.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(head("GET", blob))
        received = bytearray()
        while len(received) < len(CONTENT):
            received += connection.recv(200_000)
            time.sleep(0.01)
        assert bytes(received).partition(b"\r\n\r\n")[2] == CONTENT[: len(received.partition(b"\r\n\r\n")[2])]


# The blob service dies while it has the connection


@contextlib.contextmanager
def played_data_socket(path: Path, play: Callable[[socket.socket, socket.socket], None]) -> Iterator[None]:
    """In place of the blob service's data socket: `play` gets the gateway's connection and the client's."""
    path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                gateway, _ = listener.accept()
                frames = FrameBuffer()
                descriptors: list[int] = []
                while (frame := frames.next_frame()) is None:
                    data, received, _, _ = socket.recv_fds(gateway, frames.missing(), 4)
                    descriptors += received
                    frames.feed(data)
                assert blob_pb2.Loan.FromString(frame.message).WhichOneof("work")
                with gateway, socket.socket(fileno=descriptors.pop()) as client:
                    play(gateway, client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        path.unlink()


@pytest.fixture
def dying(start_registry, short_folder: Path) -> object:
    """A registry on one host, whose data socket can be taken over."""
    address = f"unix://{short_folder}/{os.urandom(4).hex()}.sock"
    return start_registry(services={"blob": {"addr": [address], "channel": "auto", "dataport": 0}})


def place_blob(registry) -> str:
    """Put a blob into storage, so that the gateway has no connection to the real data socket yet."""
    digest = digest_of(CONTENT)
    hexadecimal = digest.removeprefix("sha256:")
    tree = registry.root / "docker/registry/v2"
    files = {
        tree / "blobs/sha256" / hexadecimal[:2] / hexadecimal / "data": CONTENT,
        tree / "repositories/tests/dying/_layers/sha256" / hexadecimal / "link": digest.encode(),
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return digest


def read_until_reset(connection: socket.socket) -> bytes:
    """What comes in; fails when the connection ends as if all were well."""
    received = b""
    try:
        while data := connection.recv(MIB):
            received += data
    except ConnectionResetError:
        return received
    raise AssertionError(f"the connection was closed after {received[-100:]!r}")


def data_socket_of(registry) -> Path:
    return Path(registry.config.services.blob.instances[0].removeprefix("unix://") + ".data")


def leave(gateway: socket.socket, client: socket.socket) -> None:
    """End at once, as a process that is killed."""


def start_and_leave(gateway: socket.socket, client: socket.socket) -> None:
    gateway.sendall(pack_frame(blob_pb2.LoanEvent(started=blob_pb2.Started())))
    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3145728\r\n\r\npart")


def test_a_service_that_died_before_it_wrote_leaves_the_answer_to_grpc(dying) -> None:
    digest = place_blob(dying)
    with played_data_socket(data_socket_of(dying), leave):
        assert dying.client.get(f"/v2/tests/dying/blobs/{digest}").content == CONTENT


def test_a_service_that_died_in_mid_answer_costs_this_answer_alone(dying) -> None:
    digest = place_blob(dying)
    with played_data_socket(data_socket_of(dying), start_and_leave), dying.connect() as connection:
        connection.sendall(head("GET", f"/v2/tests/dying/blobs/{digest}"))
        received = read_until_reset(connection)
        assert received.endswith(b"part")
        assert dying.client.get("/v2/").status_code == 200


def test_a_service_that_died_in_mid_body_is_unavailable_and_the_connection_is_closed(dying) -> None:
    path = upload_path(dying, "tests/dying")
    with played_data_socket(data_socket_of(dying), leave), dying.connect() as connection:
        connection.sendall(head("PATCH", path, "Content-Length: 100", OCTETS) + bytes(50))
        reader = Reader(connection)
        status, fields, _ = reader.answer()
        assert (status, fields["connection"], fields["retry-after"]) == (503, "close", "1")
        assert reader.rest() == b""


async def test_a_connection_that_died_while_it_was_idle_leaves_the_body_where_it_was(
    short_folder: Path,
) -> None:
    path = short_folder / "idle.data"
    client, _peer = socket.socketpair()
    client.setblocking(False)
    channel = LendingChannel(path, silence=5)
    work = blob_pb2.ReceiveLoan(append=blob_pb2.AppendHeader(), length=5)
    with socket.socket(socket.AF_UNIX) as listener, client, _peer:
        listener.bind(str(path))
        listener.listen()
        first = asyncio.ensure_future(channel.receive(LentBody(client.fileno(), b"small"), work))
        service, _ = await asyncio.to_thread(listener.accept)
        finished = blob_pb2.Finished(moved=5, appended=blob_pb2.Upload(offset=5))
        service.sendall(pack_frame(blob_pb2.LoanEvent(finished=finished)))
        await first
        # The event loop has not seen yet that the service is gone.
        service.close()
        with pytest.raises(ChannelUnavailableError):
            await channel.receive(LentBody(client.fileno(), b"small"), work)
    await channel.close()


def test_without_a_data_socket_bytes_go_by_grpc(dying) -> None:
    data_socket_of(dying).unlink()
    digest = place_blob(dying)
    assert dying.client.get(f"/v2/tests/dying/blobs/{digest}").content == CONTENT
