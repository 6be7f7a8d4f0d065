"""Connections that stay on this host."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from moorage.config.values import is_loopback

# In every kernel, and allowed to everybody (tcp(7), TCP_CONGESTION).
_UNPACED = b"reno"


def unpace(connection: socket.socket, address: Any) -> None:
    """Let TCP send as fast as the other end takes it, when that is on this host's loopback interface.

    `address` is where the connection came from, as `socket.accept` gives it. Where the host's congestion
    control is BBR, which suits clients far away, TCP has a timer set between any two segments. Over loopback,
    whence a reverse proxy on this host comes, there is nothing to be careful of, and the timers take most of
    the time that a pull takes.
    """
    # A listener for both versions of IP gives those of version 4 as mapped ones.
    if connection.family != socket.AF_UNIX and is_loopback(address[0].removeprefix("::ffff:")):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _UNPACED)
