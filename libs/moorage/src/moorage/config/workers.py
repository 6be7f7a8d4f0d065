"""How many processes a service runs as, and where each instance of the blob service then is."""

from __future__ import annotations

import os

from moorage.config.values import DNS, split_host_port

# More than that, on one machine, is a mistake.
MOST_WORKERS = 256

# A gateway's processes, unless the configuration says how many.
_MOST_GATEWAYS = 8

# A blob service's threads do its work: it needs a process for this many cores.
_CORES_OF_A_BLOB_SERVICE = 4


def usable_cores() -> int:
    """How many cores this process may run on, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gateway_processes() -> int:
    """How many processes a gateway runs as when nobody says: one for each core, at most 8."""
    return min(usable_cores(), _MOST_GATEWAYS)


def blob_processes() -> int:
    """How many processes a blob service runs as when nobody says: one for four cores, at least one."""
    return max(usable_cores() // _CORES_OF_A_BLOB_SERVICE, 1)


def instance_addresses(address: str, count: int) -> tuple[str, ...]:
    """The addresses of so many instances: `unix:///x/blob.sock` is `blob.1.sock` and so on, a port counts up.

    One instance has the address itself. Raises ValueError when ports run out.
    """
    if count == 1:
        return (address,)
    if address.startswith("unix://"):
        folder, _, name = address.rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            stem, dot, suffix = name, "", ""
        return tuple(f"{folder}/{stem}.{number}{dot}{suffix}" for number in range(1, count + 1))
    _, port = split_host_port(address.removeprefix(DNS))
    host = address.rpartition(":")[0]
    if port + count - 1 > 65535:
        raise ValueError(f"{count} instances from port {port} on need ports beyond 65535")
    return tuple(f"{host}:{port + number}" for number in range(count))
