"""The data channel between hosts, over mutual TLS.

Whoever works with a connection of the data channel does so by its descriptor, which the bytes of a TLS
connection do not come out of. So each connection gets a pair of sockets: one end of it stands for the
connection, and what passes at the other is carried through TLS.

Within TLS the bytes are cut into pieces, each with its length (four bytes, the most significant first)
before it. A length of 0 says that nothing more comes from this side, as a shut down socket does: what ends
without it was cut off.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct

import structlog

log = structlog.get_logger("moorage.channel")

_LENGTH = struct.Struct("!I")
_END = _LENGTH.pack(0)

# The most bytes of a piece that is sent, and that are held of one that comes in.
_PIECE = 256 * 1024

# Seconds that the end of a TLS connection may take.
_SHUTDOWN_SECONDS = 5.0


class Tunnel:
    """A TLS connection whose handshake is done; `names` are the DNS names in the peer's certificate."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, names: frozenset[str]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.names = names

    def abort(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def carry(self, far: socket.socket) -> None:
        """Carry what passes at `far`, a socket that does not block, until both sides have ended; close both.

        When either fails the other is cut off, so that nobody takes a part for the whole.
        """
        ended = False
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._send(far))
                both.create_task(self._receive(far))
            ended = True
        except* (OSError, asyncio.IncompleteReadError) as failure:
            log.debug("a connection of the data channel was cut off", error=str(failure.exceptions[0]))
        finally:
            far.close()
            if ended:
                self._writer.close()
            else:
                self.abort()

    async def _send(self, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(far, _PIECE):
            self._writer.writelines((_LENGTH.pack(len(data)), data))
            await self._writer.drain()
        self._writer.write(_END)
        await self._writer.drain()

    async def _receive(self, far: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while length := _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))[0]:
            while length:
                data = await self._reader.read(min(length, _PIECE))
                if not data:
                    raise asyncio.IncompleteReadError(b"", length)
                await loop.sock_sendall(far, data)
                length -= len(data)
        far.shutdown(socket.SHUT_WR)


class Tunnels:
    """The tunnels of one channel or server, which end with it."""

    def __init__(self) -> None:
        self._carrying: set[asyncio.Task[None]] = set()

    def near_end(self, tunnel: Tunnel) -> socket.socket:
        """A socket that stands for a tunnel from now on, and does not block; the caller closes it."""
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        task = asyncio.create_task(tunnel.carry(far))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        # Also of a task that was cancelled before it began.
        task.add_done_callback(lambda _: far.close())
        return near

    async def close(self) -> None:
        """End all of them."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)


async def dial(connection: socket.socket, context: ssl.SSLContext, name: str, *, seconds: float) -> Tunnel:
    """The handshake with a server that must have `name` in its certificate, within `seconds`.

    Raises OSError (ssl.SSLError is one); the connection is closed then.
    """
    reader, protocol = _stream()
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: protocol,
        sock=connection,
        ssl=context,
        server_hostname=name,
        ssl_handshake_timeout=seconds,
        ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    return _tunnel(reader, protocol, transport)


async def answer(connection: socket.socket, context: ssl.SSLContext, *, seconds: float) -> Tunnel:
    """The handshake with a client, within `seconds`.

    Raises OSError (ssl.SSLError is one); the connection is closed then.
    """
    reader, protocol = _stream()
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
        lambda: protocol,
        connection,
        ssl=context,
        ssl_handshake_timeout=seconds,
        ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    return _tunnel(reader, protocol, transport)


def _stream() -> tuple[asyncio.StreamReader, asyncio.StreamReaderProtocol]:
    reader = asyncio.StreamReader(limit=_PIECE)
    return reader, asyncio.StreamReaderProtocol(reader)


def _tunnel(
    reader: asyncio.StreamReader, protocol: asyncio.StreamReaderProtocol, transport: asyncio.Transport
) -> Tunnel:
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    certificate = transport.get_extra_info("peercert") or {}
    names = frozenset(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")
    return Tunnel(reader, writer, names)
