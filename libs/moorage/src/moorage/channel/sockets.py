"""The data channel's sockets: where it listens on one host, and how its TCP connections are set up."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from moorage.channel.waiting import writable
from moorage.config.values import UNIX_PATH_MAX
from moorage.rpc.address import Address

_SUFFIX = ".data"

# A peer that vanishes without a word is noticed within a minute.
_TCP_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


def data_socket(address: Address) -> Path | None:
    """The data socket beside a service's gRPC socket; None for a TCP address or too long a path."""
    if address.path is None:
        return None
    path = address.path.with_name(address.path.name + _SUFFIX)
    return path if len(str(path).encode()) <= UNIX_PATH_MAX else None


def set_up_tcp(connection: socket.socket) -> None:
    """Send at once, and notice a peer that is gone. Raises OSError when it has gone already."""
    for level, option, value in _TCP_OPTIONS:
        connection.setsockopt(level, option, value)


async def connect(connection: socket.socket, address: object) -> None:
    """Connect a non-blocking socket to an address of its family, which needs no name server. Raises OSError.

    An event loop's own way may not do: uvloop looks up numbers too, in the threads that look up names, and
    while DNS does not answer those are all taken.
    """
    failure = connection.connect_ex(address)  # type: ignore[arg-type]  # each family's own
    if failure == errno.EINPROGRESS:
        await writable(connection.fileno())
        failure = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failure:
        raise OSError(failure, os.strerror(failure))
