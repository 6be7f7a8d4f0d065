"""The data channel's server over each driver, and a gateway and its client with real sockets.

Every test runs on asyncio's loop and on uvloop's, which the service runs on.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from blob_service.drivers.interface import StorageDriver
from blob_service.drivers.threads import ThreadPool
from blob_service.hashing import new_executor
from blob_service.layout import UploadKey
from blob_service.main import Contents, build_data_server
from blob_service.metrics import LOANS_OPEN
from moorage.channel import FrameBuffer, pack_frame
from moorage.config import parse
from moorage.digest import Digest
from moorage.rpc import Address, Security
from moorage.v1 import blob_pb2

SECONDS = 20.0


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class GatewaySide:
    """A gateway's connection to the data socket or the data port."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._frames = FrameBuffer()
        # What came behind the last event that was asked for with `exact`.
        self.raw = bytearray()

    def lend(self, loan: blob_pb2.Loan, *clients: socket.socket, tail: bytes = b"") -> None:
        """Send a loan. The gateway keeps its own descriptor of the client's socket."""
        self.send(pack_frame(loan, tail), *clients)

    def send(self, data: bytes, *clients: Any) -> None:
        """Send bytes as they are, which fit the socket's buffer, with descriptors."""
        descriptors = [client if isinstance(client, int) else client.fileno() for client in clients]
        if descriptors:
            sent = socket.send_fds(self.socket, [data], descriptors)
            data = data[sent:]
        if data:
            self.socket.setblocking(True)
            self.socket.sendall(data)
            self.socket.setblocking(False)

    async def event(self, *, exact: bool = False) -> tuple[blob_pb2.LoanEvent, bytes]:
        """The next event and its tail. `exact` reads nothing that follows it."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            while (frame := self._frames.next_frame()) is None:
                data = await loop.sock_recv(self.socket, self._frames.missing() if exact else 65536)
                assert data, "the connection was closed"
                self._frames.feed(data)
        return blob_pb2.LoanEvent.FromString(frame.message), frame.tail

    async def last(self) -> tuple[list[str], Any, bytes]:
        """Every event's name to the last one, that one's content, and its tail."""
        names: list[str] = []
        while True:
            event, tail = await self.event()
            names.append(str(event.WhichOneof("event")))
            if names[-1] in ("finished", "failed"):
                return names, getattr(event, names[-1]), tail

    async def receive(self, count: int) -> bytes:
        """So many bytes as they are."""
        return await receive(self.socket, count)

    async def closed(self) -> bool:
        """Wait until the other side has closed the connection; false if it sends something first."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            try:
                return not await loop.sock_recv(self.socket, 1)
            except ConnectionError:
                return True

    def close(self) -> None:
        self.socket.close()


class Channel:
    """The data channel's server, and what is behind it."""

    def __init__(
        self, contents: Contents, server: Any, address: Address, port: int, exits: ExitStack
    ) -> None:
        self.contents = contents
        self.server = server
        self.address = address
        self.port = port
        self._exits = exits

    @property
    def path(self) -> Path:
        assert self.address.path is not None
        return self.address.path.with_name(self.address.path.name + ".data")

    async def connect(self) -> GatewaySide:
        """A new connection of a gateway: to the data socket, or to the data port if that is served."""
        local = self.address.path is not None
        connection = socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_STREAM)
        self._exits.callback(connection.close)
        connection.setblocking(False)
        target = str(self.path) if local else ("127.0.0.1", self.port)
        await asyncio.get_running_loop().sock_connect(connection, target)
        return GatewaySide(connection)

    async def store(self, content: bytes) -> str:
        """Put a blob; its digest."""
        upload = await self.upload()
        digest = content_digest(content)

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        await self.contents.uploads.commit(upload, 0, digest, chunks(), length=None)
        return str(digest)

    async def upload(self) -> UploadKey:
        """Start an upload."""
        key = UploadKey.new("library/ubuntu")
        await self.contents.uploads.start(key, "sha256")
        return key

    async def offset(self, key: UploadKey) -> int:
        """How many bytes an upload has."""
        return (await self.contents.uploads.status(key)).offset


def content_digest(content: bytes) -> Any:
    return Digest.of(content)


@pytest.fixture
def open_loans() -> Callable[[], float]:
    """How many loans are under way, by the metric."""
    return lambda: LOANS_OPEN._value.get()


ServeChannel = Callable[..., Any]


@pytest.fixture
async def serve_channel(
    storage: StorageDriver, tmp_path: Path, free_port: Callable[[], int]
) -> AsyncIterator[ServeChannel]:
    """Starts the data channel: its configuration in YAML, `tcp` for a data port, `security` for TLS there."""
    executor = new_executor()
    threads = ThreadPool(storage.name, 4)
    servers = []
    with ExitStack() as exits:

        async def start(
            services: str = "",
            more: str = "",
            *,
            blob: str = "",
            tcp: bool = False,
            security: Security | None = None,
        ) -> Channel:
            port = free_port() if tcp else 0
            address = Address.parse("127.0.0.1:1" if tcp else f"unix://{tmp_path}/run/blob.sock")
            services = f"services: {{blob: {{dataport: {port}, {blob}}}, {services}}}"
            config = parse(f"version: 0.1\nstorage: {{inmemory: {{}}}}\n{services}\n{more}\n", {})
            contents = Contents.of(config, storage, executor)
            server = build_data_server(config, address, contents, threads, security)
            await server.start()
            servers.append(server)
            return Channel(contents, server, address, port, exits)

        yield start
        for server in servers:
            await server.stop(0)
    await threads.close()
    executor.shutdown()


@pytest.fixture
async def channel(serve_channel: ServeChannel) -> Channel:
    """The data channel on a data socket."""
    return await serve_channel()


@pytest.fixture
async def port_channel(serve_channel: ServeChannel) -> Channel:
    """The data channel on a data port."""
    return await serve_channel(tcp=True)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A TCP port that nobody has at the moment."""

    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
            return port

    return find


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's connection: the gateway's end and the client's. Neither blocks."""
    ours, theirs = tcp_pair() if request.param == "tcp" else socket.socketpair()
    yield from _pair(ours, theirs)


@pytest.fixture
def slow_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's TCP connection that holds little between its ends."""
    ours, theirs = tcp_pair(buffer=16384)
    yield from _pair(ours, theirs)


def _pair(ours: socket.socket, theirs: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def tcp_pair(*, buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs = socket.socket()
        if buffer:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


async def receive(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer if the other end closes before."""
    received = bytearray()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        while len(received) < count and (data := await loop.sock_recv(connection, count - len(received))):
            received += data
    return bytes(received)


@pytest.fixture
def receive_from() -> Callable[..., Any]:
    """Reads so many bytes from a client's end."""
    return receive


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """How many descriptors this process has."""
    return lambda: len(os.listdir("/proc/self/fd"))


def send_loan(digest: str, size: int, *parts: tuple[bytes, int, int], tail: bytes = b"") -> blob_pb2.Loan:
    made = [blob_pb2.SendLoan.Part(head=head, offset=offset, length=length) for head, offset, length in parts]
    work = blob_pb2.SendLoan(digest=digest, size=size, parts=made, tail=tail)
    return blob_pb2.Loan(request_id="test", send=work)


@pytest.fixture
def sends() -> Callable[..., blob_pb2.Loan]:
    """`sends(digest, size, (head, offset, length), ..., tail=b"")`: a loan to send parts of a blob."""
    return send_loan


def receive_loan(
    key: UploadKey, *, digest: str = "", offset: int = 0, length: int | None = None
) -> blob_pb2.Loan:
    header = blob_pb2.AppendHeader(
        key=blob_pb2.UploadKey(repository=key.repository, id=key.id), offset=offset, length=length
    )
    work = blob_pb2.ReceiveLoan(append=header)
    if digest:
        work = blob_pb2.ReceiveLoan(commit=blob_pb2.CommitHeader(append=header, digest=digest))
    if length is None:
        work.chunked = True
    else:
        work.length = length
    return blob_pb2.Loan(request_id="test", receive=work)


@pytest.fixture
def receives() -> Callable[..., blob_pb2.Loan]:
    """`receives(key, digest=, offset=, length=)`: a loan to append a body, or to commit with a digest.

    Without a length the body is chunked.
    """
    return receive_loan


def in_chunks(content: bytes, size: int = 65536, trailers: bytes = b"") -> bytes:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return framed + b"0\r\n" + trailers + b"\r\n"


@pytest.fixture
def chunked() -> Callable[..., bytes]:
    """A body in chunked framing."""
    return in_chunks
