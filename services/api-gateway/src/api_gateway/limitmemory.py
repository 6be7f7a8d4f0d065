"""What the workers of a gateway know together about their clients: a file of fixed size that all of them map.

Clients are found by a keyed hash of their address, which nobody outside can foresee, and whatever they do
the memory does not grow. Connections are counted by each worker in a row of its own, so that what a worker
that is killed had counted goes with it. A client is in two places of a row and counts as the smaller one:
that two strangers meet in both is improbable. For requests each client has a place of its own, with the hash
beside it; of those that meet, whoever was quiet for longest makes room.
"""

from __future__ import annotations

import hashlib
import ipaddress
import mmap
import os
from functools import lru_cache

from api_gateway.sharedfile import SharedFile
from moorage.config.limits import Limits

_KEY_BYTES = 16

# Places for clients in each worker's row.
_SLOTS = 1 << 14

# Places for the requests of clients: as many sets of so many each.
SETS = 1 << 13
WAYS = 4

# Addresses whose hash is remembered.
_ADDRESSES = 4096


class LimitMemory:
    """The memory of one worker (`row`, from 0) of so many (`rows`), in a buffer of `size_of` bytes."""

    def __init__(self, buffer: bytearray | mmap.mmap, limits: Limits, *, rows: int, row: int) -> None:
        whole = memoryview(buffer)
        self._key = bytes(whole[:_KEY_BYTES])
        self._rows = rows
        self._width = 1 + (_SLOTS if limits.clientconnections else 0)
        end = _KEY_BYTES + _counts_bytes(limits, rows)
        self._counts = whole[_KEY_BYTES:end].cast("I")
        self._row = row * self._width
        self.hashes, self.times = whole[end:end].cast("Q"), whole[end:end].cast("d")
        if limits.requestrate:
            middle = end + 8 * SETS * WAYS
            self.hashes = whole[end:middle].cast("Q")
            self.times = whole[middle : middle + 8 * SETS * WAYS].cast("d")
        self.hash_of = lru_cache(_ADDRESSES)(self._hash_of)

    @classmethod
    def alone(cls, limits: Limits) -> LimitMemory:
        """The memory of a process that serves alone."""
        buffer = bytearray(size_of(limits, 1))
        buffer[:_KEY_BYTES] = os.urandom(_KEY_BYTES)
        return cls(buffer, limits, rows=1, row=0)

    @classmethod
    def inherited(cls, descriptor: int, limits: Limits, *, rows: int, number: int) -> LimitMemory:
        """That of the worker with this number (from 1), in the file of `SharedLimitMemory`."""
        return cls(mmap.mmap(descriptor, size_of(limits, rows)), limits, rows=rows, row=number - 1)

    @property
    def connections(self) -> int:
        """How many connections all workers have."""
        width = self._width
        return sum(self._counts[row * width] for row in range(self._rows))

    def connections_of(self, client: str) -> int:
        """How many of them are a client's; seldom more than there are, and never fewer."""
        width = self._width
        return min(
            sum(self._counts[row * width + slot] for row in range(self._rows)) for slot in self._slots(client)
        )

    def count(self, client: str, change: int) -> None:
        """Count a connection of this worker in (1) or out (-1); a `client` of "" counts among all only."""
        self._counts[self._row] += change
        if client:
            for slot in self._slots(client):
                self._counts[self._row + slot] += change

    def _slots(self, client: str) -> set[int]:
        number = self.hash_of(client)
        return {1 + number % _SLOTS, 1 + (number // _SLOTS) % _SLOTS}

    def _hash_of(self, client: str) -> int:
        digest = hashlib.blake2b(client.encode(), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1


class SharedLimitMemory:
    """The parent's part: the file, and the rows of workers that have ended."""

    def __init__(self, limits: Limits, workers: int) -> None:
        self._file = SharedFile(size_of(limits, workers))
        self._file.memory[:_KEY_BYTES] = os.urandom(_KEY_BYTES)
        self._row_bytes = _counts_bytes(limits, 1, padded=False)

    @property
    def descriptor(self) -> int:
        """What the workers inherit."""
        return self._file.descriptor

    def ended(self, number: int) -> None:
        """Forget the connections of the worker with this number (from 1): they ended with it."""
        start = _KEY_BYTES + (number - 1) * self._row_bytes
        self._file.memory[start : start + self._row_bytes] = bytes(self._row_bytes)

    def close(self) -> None:
        """Share nothing more."""
        self._file.close()


def size_of(limits: Limits, rows: int) -> int:
    """Bytes of the memory of so many workers."""
    return _KEY_BYTES + _counts_bytes(limits, rows) + (2 * 8 * SETS * WAYS if limits.requestrate else 0)


def _counts_bytes(limits: Limits, rows: int, *, padded: bool = True) -> int:
    size = 4 * rows * (1 + (_SLOTS if limits.clientconnections else 0))
    return -(-size // 8) * 8 if padded else size


def client_of(address: str) -> str:
    """The client behind an IP address: of IPv6 its network of 64 bits, which one client has the whole of.

    "" for what is no IP address.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
