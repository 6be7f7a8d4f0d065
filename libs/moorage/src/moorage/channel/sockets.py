"""Where the data channel listens on one host."""

from __future__ import annotations

from pathlib import Path

from moorage.rpc.address import UNIX_PATH_MAX, Address

_SUFFIX = ".data"


def data_socket(address: Address) -> Path | None:
    """The data socket beside a service's gRPC socket; None for a TCP address or too long a path."""
    if address.path is None:
        return None
    path = address.path.with_name(address.path.name + _SUFFIX)
    return path if len(str(path).encode()) <= UNIX_PATH_MAX else None
