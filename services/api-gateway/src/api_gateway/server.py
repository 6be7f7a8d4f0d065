"""Listening: sockets as `http.addr` and `http.net` say, uvicorn on them, and the drain at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from api_gateway.acceptor import Acceptor
from api_gateway.activation import activated
from api_gateway.admission import Admission
from api_gateway.loads import ONLY_LOAD, Load
from api_gateway.protocol import GatewayProtocol
from api_gateway.tls import ListenerTLS
from moorage.config import Configuration, split_host_port
from moorage.config.limits import Limits

log = structlog.get_logger("api_gateway.server")

# Connections that wait to be accepted, at most.
_BACKLOG = 2048

# Seconds of silence after which TCP asks whether the peer is still there; Go's number.
_TCP_KEEP_ALIVE = 180

# Milliseconds that a peer may leave what was sent to it unacknowledged, or its window shut, before the kernel
# gives up the connection: what uvicorn has buffered for it is freed then.
_TCP_USER_TIMEOUT = 300_000

# The socket of `http.net: unix` is for its owner and its group, such as a proxy's.
_SOCKET_MODE = 0o660


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket; an empty host is every interface, IPv4 and IPv6. Raises OSError."""
    if not host:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        listener = socket.create_server(("", port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    else:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # As in Go, a name listens on one address, by preference of IPv4.
        family, _, _, _, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    _set_up_tcp(listener)
    return listener


def _set_up_tcp(listener: socket.socket) -> None:
    """Set what connections inherit."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _TCP_KEEP_ALIVE)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT)


def listen_unix(path: str) -> socket.socket:
    """A listening unix socket, in place of one that a crash left.

    Raises OSError, also for another file, and for a socket on which somebody listens.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(f"{path} is in the way: it is not a socket")
        if _is_alive(path):
            raise OSError("another process listens there")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        # Nobody can connect before `listen`.
        os.chmod(path, _SOCKET_MODE)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _is_alive(path: str) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # One whose queue is full is alive, too.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except ConnectionRefusedError:
            return False
    return True


@contextlib.contextmanager
def listening(config: Configuration) -> Iterator[socket.socket]:
    """`listen` while the context is open. A unix socket goes with it, unless another has its place.

    A socket that systemd has opened goes before what `http` says, and stays.
    """
    handed = activated()
    if handed is not None:
        if handed.family != socket.AF_UNIX:
            _set_up_tcp(handed)
        log.info("the listener is systemd's", address=str(handed.getsockname()))
        with handed:
            yield handed
        return
    listener = listen(config)
    bound = os.stat(config.http.addr) if config.http.net == "unix" else None
    try:
        yield listener
    finally:
        listener.close()
        if bound is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(config.http.addr), bound):
                    os.unlink(config.http.addr)


def listen(config: Configuration) -> socket.socket:
    """The socket that `http` describes. Raises OSError that names the address."""
    http = config.http
    try:
        if http.net == "unix":
            return listen_unix(http.addr)
        return listen_tcp(*split_host_port(http.addr))
    except OSError as error:
        raise OSError(f"cannot listen on {http.addr}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class Door:
    """What a connection meets: how many there may be, TLS if that is wanted, and limits."""

    limits: Limits = Limits()  # noqa: RUF009  frozen
    admission: Admission | None = None
    tls: ListenerTLS | None = None


NO_DOOR = Door()
"""Whoever comes is served, with the default limits."""


class _Connections(set[Any]):
    """uvicorn's set of connections, which are counted out as they leave it."""

    def __init__(self, load: Load, admission: Admission | None) -> None:
        super().__init__()
        self._load = load
        self._admission = admission

    def discard(self, connection: Any) -> None:
        """Forget a connection that has ended."""
        if connection in self:
            self.remove(connection)
            self._load.closed()
            if self._admission is not None:
                self._admission.leave(connection.guest)


class _Server(uvicorn.Server):
    """uvicorn's server with our way of accepting, and without its signal handlers: `moorage` has them."""

    def __init__(self, config: uvicorn.Config, load: Load, door: Door) -> None:
        super().__init__(config)
        self._load = load
        self._door = door
        self.server_state.connections = _Connections(load, door.admission)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await self.lifespan.startup()
        door = self._door
        acceptors = [
            Acceptor(listener, self._new_protocol, self._load, admission=door.admission, tls=door.tls)
            for listener in sockets or ()
        ]
        for acceptor in acceptors:
            acceptor.start()
        # uvicorn closes them first at the end, as the asyncio servers that it would have made itself.
        self.servers = acceptors  # type: ignore[assignment]
        self.started = True

    def _new_protocol(self) -> GatewayProtocol:
        return GatewayProtocol(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            limits=self._door.limits,
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def serving(
    app: ASGIApp,
    listener: socket.socket,
    *,
    drain: float,
    load: Load = ONLY_LOAD,
    door: Door = NO_DOOR,
) -> AsyncIterator[None]:
    """Serve while the context is open; then stop accepting, and give requests under way `drain` seconds.

    `load` is what the processes that accept from the same listener share.
    """
    config = uvicorn.Config(
        app,
        http=GatewayProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # uvicorn types it as whole seconds and hands it to the event loop.
        timeout_keep_alive=door.limits.idletimeout,  # type: ignore[arg-type]
        # uvicorn types it as whole seconds and hands it to asyncio.wait_for.
        timeout_graceful_shutdown=drain,  # type: ignore[arg-type]
    )
    server = _Server(config, load, door)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                # It raised; a server that ends by itself is as much of a failure.
                task.result()
                raise RuntimeError("the HTTP server ended before it began")
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task
        listener.close()
