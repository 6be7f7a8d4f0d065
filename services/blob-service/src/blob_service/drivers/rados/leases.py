"""Who writes a path: at most one, of all processes, and nobody for long once the process has died.

A lease is an exclusive lock of the OSD's class `lock` on an object of its own. The OSD's clock decides when
it runs out; its holder renews it. The lock is ephemeral: the object goes with it. Who finds that the
holder was a process of its own host and has ended (`holders.py`) does not wait until it runs out.

A holder that was stopped for longer than the lease may go on writing when another has taken over. What it can
do then is limited by `writer.py`, not here: its steps carry its token, which the other has replaced.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import structlog

from blob_service.drivers.errors import WriterBusyError
from blob_service.drivers.rados import operations
from blob_service.drivers.rados.failures import storage_errors
from blob_service.drivers.rados.holders import Holder
from blob_service.drivers.rados.names import lease_name
from blob_service.drivers.rados.pool import Pool

_CLASS = "lock"
_LOCK = "writer"
# From cls/lock/cls_lock_types.h: ClsLockType::EXCLUSIVE_EPHEMERAL, LOCK_FLAG_MAY_RENEW.
_EXCLUSIVE_EPHEMERAL = 3
_MAY_RENEW = 1
# include/encoding.h of Ceph: version, oldest version that can read it, length.
_HEADER = struct.Struct("<BBI")
# entity_name_t, msg/msg_types.h: type and number.
_CLIENT_NAME = struct.Struct("<Bq")
_RENEWALS_PER_LEASE = 3
# Between who has a lease and what makes its token unique.
_AFTER_HOLDER = "."

_log = structlog.get_logger(__name__)


class Lease:
    """The right to write a path, from `acquire` to `release`."""

    def __init__(self, pool: Pool, path: str, seconds: float) -> None:
        self._pool = pool
        self._path = path
        self._seconds = seconds
        self._renewing: asyncio.Task[None] | None = None
        # Says which writer it is, in the lock and in what is written.
        self.token = f"{_this_process()}{_AFTER_HOLDER}{secrets.token_hex(8)}"

    async def acquire(self) -> None:
        """Take the lease and keep it. Raises WriterBusyError if another writer has it."""
        try:
            await self._lock(flags=0)
        except WriterBusyError:
            if not await _break_if_dead(self._pool, self._path):
                raise
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


async def has_run_out(pool: Pool, path: str) -> bool:
    """Whether a lease is there and nobody has it any more."""
    try:
        locker = await _locker(pool, path)
    except FileNotFoundError:
        return False
    return locker is None or locker.is_known_to_be_dead()


async def remove_dead(pool: Pool, path: str) -> bool:
    """Remove a lease that has run out; False if somebody has taken it meanwhile."""
    lease = Lease(pool, path, 1)
    try:
        await lease.acquire()
    except WriterBusyError:
        return False
    await lease.release()
    return True


@dataclass(frozen=True, slots=True)
class _Locker:
    """Who has a lock: its name as a client of Ceph (a type and a number, encoded), and its token."""

    client: bytes
    token: str

    def is_known_to_be_dead(self) -> bool:
        holder = Holder.parse(self.token.partition(_AFTER_HOLDER)[0])
        return holder is not None and holder.is_known_to_be_dead()


async def _locker(pool: Pool, path: str) -> _Locker | None:
    """Who has the lease, by the OSD's clock. Raises FileNotFoundError if there is none."""
    try:
        answer = await pool.call(lease_name(path), _CLASS, "get_info", _encoded(_string(_LOCK)))
    except OSError as error:
        if error.errno == errno.EIO:
            # It has run out: the OSD would remove it now, and may not in a call that only reads.
            return None
        raise
    # cls_lock_get_info_reply: a count, and for each locker first its name and its cookie.
    position = _HEADER.size
    (count,) = struct.unpack_from("<I", answer, position)
    if not count:
        return None
    position += 4 + _HEADER.size
    client = answer[position : position + _CLIENT_NAME.size]
    position += len(client)
    (length,) = struct.unpack_from("<I", answer, position)
    position += 4
    return _Locker(client, answer[position : position + length].decode())


async def _break_if_dead(pool: Pool, path: str) -> bool:
    """End the lease of a process that has ended, and whether it is free now."""
    try:
        locker = await _locker(pool, path)
        if locker is None or not locker.is_known_to_be_dead():
            return locker is None
        argument = _encoded(_string(_LOCK), locker.client, _string(locker.token))
        await pool.write(lease_name(path), operations.call(_CLASS, "break_lock", argument))
    except FileNotFoundError:
        # Somebody else has ended it.
        return True
    return True


def _this_process() -> str:
    # Once for each process: a child is another one than its parent.
    return _holder_of(os.getpid())


@cache
def _holder_of(pid: int) -> str:
    return str(Holder.this_process() or f"process {pid}")


def _string(text: str) -> bytes:
    # include/encoding.h of Ceph: a length of 32 bits, little-endian, and the bytes.
    encoded = text.encode()
    return struct.pack("<I", len(encoded)) + encoded


def _encoded(*fields: bytes) -> bytes:
    # A structure of version 1 that decoders of version 1 understand, and its length.
    payload = b"".join(fields)
    return _HEADER.pack(1, 1, len(payload)) + payload
