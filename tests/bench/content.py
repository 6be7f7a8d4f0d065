"""Blobs of any size that cost little to make, to hash and to send."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from functools import lru_cache
from itertools import count

# What docker puts into one chunk of a PATCH.
CHUNK = 32 << 10
_CHUNKS_IN_BLOCK = 32

_serial = count()


def framed(chunk: bytes) -> bytes:
    """A chunk as it goes over the wire (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


class Blob:
    """A blob that no registry has seen: a body that all blobs of its size share, and a last chunk of its own.

    So only the last chunk has to be hashed again, and a registry still has to read, hash and store it all.
    """

    def __init__(self, size: int) -> None:
        """`size` is in bytes, a multiple of `CHUNK`."""
        if size < CHUNK or size % CHUNK:
            raise ValueError(f"not a multiple of {CHUNK}: {size}")
        self.size = size
        serial = f"{os.getpid()}-{next(_serial)}"
        self._last = random.Random(serial).randbytes(CHUNK)
        hashed = _hash_of_body(size // CHUNK - 1).copy()
        hashed.update(self._last)
        self.digest = f"sha256:{hashed.hexdigest()}"

    def send_chunked(self, connection: socket.socket) -> None:
        """Send the blob in chunks, and the chunk that ends a body."""
        block, block_length = _framed_block()
        chunk_length = block_length // _CHUNKS_IN_BLOCK
        left = (self.size // CHUNK - 1) * chunk_length
        while left:
            offset, end = 0, min(left, block_length)
            while offset < end:
                offset += os.sendfile(connection.fileno(), block, offset, end - offset)
            left -= end
        connection.sendall(framed(self._last) + b"0\r\n\r\n")


@lru_cache
def _chunks() -> tuple[bytes, ...]:
    """The chunks of a body, which come again in the same order until it is long enough."""
    source = random.Random(1)
    return tuple(source.randbytes(CHUNK) for _ in range(_CHUNKS_IN_BLOCK))


@lru_cache
def _framed_block() -> tuple[int, int]:
    """A file in memory with all the chunks, framed, and its length: sendfile copies nothing to user space."""
    content = b"".join(map(framed, _chunks()))
    descriptor = os.memfd_create("moorage-bench")
    os.write(descriptor, content)
    return descriptor, len(content)


@lru_cache
def _hash_of_body(chunks: int) -> hashlib._Hash:
    hashed = hashlib.sha256()
    for number in range(chunks):
        hashed.update(_chunks()[number % _CHUNKS_IN_BLOCK])
    return hashed
