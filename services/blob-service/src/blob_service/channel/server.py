"""Listening on the data socket and the data port, and ending in good order."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any

import structlog

from blob_service.channel.gateway import Gateway, GatewayGoneError, ProtocolError, Received
from blob_service.channel.loans import Loans
from moorage.channel import Tunnels, answer, data_socket, set_up_tcp
from moorage.rpc import Address, Security
from moorage.rpc.security import ForbiddenCallError, check_data_port_caller
from moorage.rpc.server import prepare_socket

log = structlog.get_logger(__name__)

_BACKLOG = 1024

# Connections at a time; each takes two descriptors while it has a loan. At a data port, where anybody may
# connect, so many of them may be without a ticket.
_MOST = 4096
_MOST_WITHOUT_TICKET = 256

# Seconds that a loan may take to come in, and the first one after connecting: of a gateway on this host, and
# of whoever is at the data port.
_LOAN_SECONDS = 60.0
_TICKET_SECONDS = 10.0

# Seconds that accepting rests when it failed.
_REST = 0.5

_CREDENTIALS = struct.Struct("3i")


class DataServer:
    """Serves gateways at the data socket beside a gRPC socket, or at a TCP port of the same host (`port`).

    With `security`, the port speaks mutual TLS, and only with gateways.
    """

    def __init__(
        self,
        loans: Loans,
        address: Address,
        *,
        enabled: bool,
        port: int,
        security: Security | None = None,
    ) -> None:
        self._loans = loans
        self._security = security
        self._tunnels = Tunnels()
        self._path = data_socket(address) if enabled else None
        self._host = address.listen_host
        self._port = port if enabled and address.path is None else 0
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        # Those that wait for a loan.
        self._idle: set[asyncio.Task[Any]] = set()
        self._draining = False

    async def start(self) -> None:
        """Listen, if there is where to. Raises OSError when the address cannot be had."""
        self._listener = await self._listen()
        if self._listener is None:
            return
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        log.info("the data channel listens", address=str(self._path or f"{self._host}:{self._port}"))

    async def stop(self, grace: float) -> None:
        """Stop accepting, let loans under way end within `grace` seconds, then drop them."""
        self._draining = True
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)
        for task in self._idle:
            task.cancel()
        connections = list(self._connections)
        if connections:
            _, left = await asyncio.wait(connections, timeout=grace)
            for task in left:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
        await self._tunnels.close()

    async def _listen(self) -> socket.socket | None:
        if self._path is not None:
            return _listen_unix(self._path)
        if self._port and not self._host:
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            return socket.create_server(
                ("", self._port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual
            )
        if self._port:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        return None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                # Out of descriptors, most likely; those who wait stay in the queue.
                log.warning("the data channel cannot accept a connection", error=str(error))
                await asyncio.sleep(_REST)
                continue
            try:
                admitted = self._admits(connection)
            except OSError as error:
                # It ended between the two.
                log.debug("a connection of the data channel is gone", error=str(error))
                admitted = False
            if admitted:
                self._serve(connection)
            else:
                connection.close()

    def _admits(self, connection: socket.socket) -> bool:
        local = connection.family == socket.AF_UNIX
        if len(self._connections) >= _MOST or (not local and len(self._idle) >= _MOST_WITHOUT_TICKET):
            log.warning("the data channel has too many connections", connections=len(self._connections))
            return False
        if not local:
            set_up_tcp(connection)
            return True
        user = peer_user(connection)
        if user in (0, os.geteuid()):
            return True
        log.warning("the data channel refuses another user's connection", uid=user)
        return False

    def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        local = connection.family == socket.AF_UNIX
        if local or self._security is None:
            task = asyncio.create_task(self._connection(Gateway(connection, local=local)))
        else:
            task = asyncio.create_task(self._secured(connection, self._security))
        # It counts as one that waits before it runs.
        self._idle.add(task)
        self._connections.add(task)
        task.add_done_callback(self._forget)

    async def _secured(self, connection: socket.socket, security: Security) -> None:
        """Serve a connection of the data port over TLS."""
        try:
            tunnel = await answer(connection, security.server_context, seconds=_TICKET_SECONDS)
        except OSError as error:
            log.warning("a connection of the data port failed in its TLS handshake", error=str(error))
            return
        try:
            check_data_port_caller(tunnel.names)
        except ForbiddenCallError:
            tunnel.abort()
            return
        await self._connection(Gateway(self._tunnels.near_end(tunnel), local=False))

    async def _connection(self, gateway: Gateway) -> None:
        """Work off a connection's loans until it ends."""
        try:
            async with asyncio.timeout(_LOAN_SECONDS if gateway.is_local else _TICKET_SECONDS):
                received = await gateway.next_loan()
            while received is not None:
                await self._work_off(gateway, received)
                if self._draining or not gateway.is_local:
                    return
                await gateway.wait()
                async with asyncio.timeout(_LOAN_SECONDS):
                    received = await gateway.next_loan()
        except ProtocolError as error:
            log.warning("a connection of the data channel is refused", error=str(error))
        except GatewayGoneError as error:
            log.debug("a connection of the data channel ended", error=str(error))
        except TimeoutError:
            log.debug("a connection of the data channel sent no loan in time")
        finally:
            gateway.close()

    async def _work_off(self, gateway: Gateway, received: Received) -> None:
        # Never None in a coroutine.
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._idle.discard(task)
        try:
            await self._loans.work_off(gateway, received)
        finally:
            self._idle.add(task)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._idle.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection of the data channel failed", exc_info=error)


def peer_user(connection: socket.socket) -> int:
    """The user id of the process at the other end of a unix socket, as the kernel knows it."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(packed)[1]
    return user


def _listen_unix(path: os.PathLike[str]) -> socket.socket:
    prepare_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        # Nobody can connect before `listen`.
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
