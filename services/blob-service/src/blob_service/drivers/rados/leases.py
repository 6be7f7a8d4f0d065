"""Who writes a path: at most one, of all processes, and nobody for long once the process has died.

A lease is an exclusive lock of the OSD's class `lock` on an object of its own. The OSD's clock decides when
it runs out; its holder renews it. The lock is ephemeral: the object goes with it.

A holder that was stopped for longer than the lease may go on writing when another has taken over. What it can
do then is limited by `writer.py`, not here: its steps carry its token, which the other has replaced.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import struct
from contextlib import suppress

import structlog

from blob_service.drivers.errors import WriterBusyError
from blob_service.drivers.rados import operations
from blob_service.drivers.rados.failures import storage_errors
from blob_service.drivers.rados.names import lease_name
from blob_service.drivers.rados.pool import Pool

_CLASS = "lock"
_LOCK = "writer"
# From cls/lock/cls_lock_types.h: ClsLockType::EXCLUSIVE_EPHEMERAL, LOCK_FLAG_MAY_RENEW.
_EXCLUSIVE_EPHEMERAL = 3
_MAY_RENEW = 1
_RENEWALS_PER_LEASE = 3

_log = structlog.get_logger(__name__)


class Lease:
    """The right to write a path, from `acquire` to `release`."""

    def __init__(self, pool: Pool, path: str, seconds: float) -> None:
        self._pool = pool
        self._path = path
        self._seconds = seconds
        self._renewing: asyncio.Task[None] | None = None
        # Says which writer it is, in the lock and in what is written.
        self.token = secrets.token_hex(12)

    async def acquire(self) -> None:
        """Take the lease and keep it. Raises WriterBusyError if another writer has it."""
        await self._lock(flags=0)
        self._renewing = asyncio.create_task(self._renew())

    async def release(self) -> None:
        """Let others write. It runs out by itself if the cluster does not answer."""
        if self._renewing is not None:
            # A renewal under way reaches the OSD before what follows.
            self._renewing.cancel()
            self._renewing = None
        argument = _encoded(_string(_LOCK), _string(self.token))
        # It is not there when it ran out, whoever has the path now.
        with storage_errors(self._path), suppress(FileNotFoundError):
            await self._pool.write(lease_name(self._path), operations.call(_CLASS, "unlock", argument))

    async def _lock(self, *, flags: int) -> None:
        seconds = int(self._seconds)
        argument = _encoded(
            _string(_LOCK),
            bytes([_EXCLUSIVE_EPHEMERAL]),
            _string(self.token),
            _string(""),
            _string(""),
            struct.pack("<II", seconds, int((self._seconds - seconds) * 1e9)),
            bytes([flags]),
        )
        with storage_errors(self._path):
            try:
                await self._pool.write(lease_name(self._path), operations.call(_CLASS, "lock", argument))
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise WriterBusyError(self._path) from error
                raise

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / _RENEWALS_PER_LEASE)
            try:
                await self._lock(flags=_MAY_RENEW)
            except WriterBusyError:
                _log.warning("another writer has taken over", path=self._path)
                return
            except Exception as error:  # the writer meets the same trouble, and reports it
                _log.warning("a writer's lease could not be renewed", path=self._path, error=str(error))


async def is_free(pool: Pool, path: str) -> bool:
    """Whether nobody writes the path; what a dead writer left of its lease is removed."""
    lease = Lease(pool, path, 1)
    try:
        await lease.acquire()
    except WriterBusyError:
        return False
    await lease.release()
    return True


def _string(text: str) -> bytes:
    # include/encoding.h of Ceph: a length of 32 bits, little-endian, and the bytes.
    encoded = text.encode()
    return struct.pack("<I", len(encoded)) + encoded


def _encoded(*fields: bytes) -> bytes:
    # A structure of version 1 that decoders of version 1 understand, and its length.
    payload = b"".join(fields)
    return struct.pack("<BBI", 1, 1, len(payload)) + payload
