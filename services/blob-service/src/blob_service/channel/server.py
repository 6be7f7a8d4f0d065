"""Listening on the data socket and the data port, and ending in good order."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any

import structlog

from blob_service.channel.gateway import Gateway
from blob_service.channel.loans import Loans, serve_connection
from moorage.channel import data_socket
from moorage.rpc import Address
from moorage.rpc.server import prepare_socket

log = structlog.get_logger(__name__)

_BACKLOG = 1024

# Connections at a time; each takes two descriptors while it has a loan.
_MOST = 4096

# Seconds that a new connection may take to send its first loan, and that accepting rests when it failed.
_FIRST_LOAN = 60.0
_REST = 0.5

_CREDENTIALS = struct.Struct("3i")


class DataServer:
    """Serves gateways at the data socket beside a gRPC socket, or at a TCP port of the same host (`port`)."""

    def __init__(self, loans: Loans, address: Address, *, enabled: bool, port: int) -> None:
        self._loans = loans
        self._path = data_socket(address) if enabled else None
        self._address = address
        self._port = port
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._idle: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, if there is where to. Raises OSError when the address cannot be had."""
        self._listener = self._listen()
        if self._listener is None:
            return
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        log.info("the data channel listens", address=str(self._path or f"port {self._port}"))

    async def stop(self, grace: float) -> None:
        """Stop accepting, let loans under way end within `grace` seconds, then drop them."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)
        for task in list(self._idle):
            task.cancel()
        tasks = self._idle | self._busy
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=grace)
            for task in left:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> socket.socket | None:
        if self._path is not None:
            prepare_socket(self._path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(str(self._path))
                # Nobody can connect before `listen`.
                os.chmod(self._path, 0o600)
                listener.listen(_BACKLOG)
            except OSError:
                listener.close()
                raise
            return listener
        if self._address.path is None and self._port:
            found = socket.getaddrinfo(self._address.host, self._port, type=socket.SOCK_STREAM)
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
            if self._admits(connection):
                self._serve(connection)
            else:
                connection.close()

    def _admits(self, connection: socket.socket) -> bool:
        if len(self._idle) + len(self._busy) >= _MOST:
            log.warning("the data channel has too many connections", limit=_MOST)
            return False
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return True
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(packed)
        if user in (0, os.geteuid()):
            return True
        log.warning("the data channel refuses another user's connection", uid=user)
        return False

    def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = asyncio.create_task(self._connection(connection))
        self._idle.add(task)
        task.add_done_callback(self._forget)

    async def _connection(self, connection: socket.socket) -> None:
        # Never None in a coroutine.
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]

        def idle(waits: bool) -> None:
            (self._busy if waits else self._idle).discard(task)
            (self._idle if waits else self._busy).add(task)

        gateway = Gateway(connection)
        try:
            await serve_connection(gateway, self._loans.work_off, first=_FIRST_LOAN, idle=idle)
        finally:
            gateway.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._idle.discard(task)
        self._busy.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a connection of the data channel failed", exc_info=task.exception())
