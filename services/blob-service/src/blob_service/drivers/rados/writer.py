"""Writes a file in place, under its own path: there another process finds it and can go on with it.

Only one writer has the path (`leases.py`). Should an earlier one that was believed dead still write, none of
it gets into the file: a new stripe is only ever created, never opened, and every stripe carries the token of
its writer, without which no step changes it. What a dead writer sent may still arrive: a stripe with its
token is removed when its successor finds it where a new one is to be.

The token on stripe 0 says as well that the file is not committed. CLOSED stands there for a file that was
closed in good order, behind whose end there is nothing.
"""

from __future__ import annotations

import asyncio
import errno
import warnings

from blob_service.cancellation import run_to_completion
from blob_service.drivers.errors import (
    DriverError,
    PathNotFoundError,
    StorageError,
    WriterClosedError,
)
from blob_service.drivers.interface import FileWriter
from blob_service.drivers.rados import operations
from blob_service.drivers.rados.failures import storage_error, storage_errors
from blob_service.drivers.rados.folders import Folders
from blob_service.drivers.rados.leases import Lease
from blob_service.drivers.rados.names import TOTAL_SIZE, WRITER, pack_size, stripe_name
from blob_service.drivers.rados.pool import Pool
from blob_service.drivers.rados.settings import NAME
from blob_service.drivers.rados.stripes import STREAM_DEPTH, DataInfo, Stripes

CLOSED = "closed"


async def open_new(pool: Pool, data: str, token: str) -> DataInfo:
    """Create new data of no bytes, for the writer with this token, that no path refers to yet."""
    await pool.write(
        stripe_name(data, 0),
        operations.create_new(),
        operations.set_attribute(TOTAL_SIZE, pack_size(0)),
        operations.set_entries({WRITER: token}),
    )
    return DataInfo(0, 0, 0)


async def open_existing(pool: Pool, stripes: Stripes, data: str, token: str) -> tuple[DataInfo, str]:
    """Take data over for the writer with this token, and cut off what a dead writer left behind its end.

    Gives that writer's token as well, empty for none. Raises FileNotFoundError if the data is gone.
    """
    first = stripe_name(data, 0)
    while True:
        entries, stat = await asyncio.gather(pool.entry(first, WRITER), pool.stat(first))
        before = entries.get(WRITER, "")
        steps = operations.expect_entry(WRITER, before), operations.set_entries({WRITER: token})
        try:
            # To open it is not to write to it.
            await pool.write(first, *steps, modified=stat.modified)
        except OSError as error:
            if error.errno == errno.ECANCELED:
                continue
            raise
        break
    # From here on no other writer's size is acknowledged.
    if before in (CLOSED, ""):
        return await stripes.describe(data), ""
    size = await stripes.size(data)
    info = await stripes.describe(data)
    info = DataInfo(size, info.stripe, stat.modified)
    last, part = divmod(size, info.stripe)
    if last == 0:
        cut = operations.expect_entry(WRITER, token), operations.truncate(part)
        await pool.write(first, *cut, modified=stat.modified)
        last = 1
    elif part:
        await _cut(pool, stripe_name(data, last), part, token)
        last += 1
    await stripes.remove_from(data, last)
    return info, before


async def _cut(pool: Pool, stripe: str, size: int, token: str) -> None:
    if (await pool.stat(stripe)).size < size:
        raise DriverError(NAME, f"{stripe} is shorter than what was acknowledged")
    await pool.write(stripe, operations.set_entries({WRITER: token}), operations.truncate(size))


class RadosWriter(FileWriter):
    """The one writer of a file, while it has the lease.

    What is written goes out stripe by stripe, several at once; what does not fill a stripe waits for more.
    """

    def __init__(
        self,
        pool: Pool,
        folders: Folders,
        stripes: Stripes,
        lease: Lease,
        path: str,
        data: str,
        info: DataInfo,
        predecessor: str,
    ) -> None:
        """`predecessor` is the token of the dead writer that had the file before, empty for none."""
        self._pool = pool
        self._folders = folders
        self._stripes = stripes
        self._lease = lease
        self._path = path
        self._data = data
        self._predecessor = predecessor
        self._stripe = info.stripe or stripes.chunksize
        self._turn = asyncio.Lock()
        # Bytes that went out or are going out, and those after them that wait for a stripe to fill.
        self._sent = info.size
        self._waiting = bytearray()
        # The length that stripe 0 says.
        self._recorded = info.size
        # When that was last written to, until this writer does so.
        self._modified: int | None = info.modified or None
        # Whether the stripe in which `_sent` is carries this writer's token.
        self._tagged = False
        # By the offset at which each begins.
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._failure: StorageError | None = None
        self._committed = False
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._sent + len(self._waiting)

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """See `FileWriter.write`."""
        view = memoryview(data).cast("B")
        async with self._turn:
            self._check_writable()
            self._raise_failure()
            while view:
                room = self._stripe - self._sent % self._stripe - len(self._waiting)
                self._waiting += view[:room]
                view = view[room:]
                if self._sent % self._stripe + len(self._waiting) == self._stripe:
                    await self._send()
            self._raise_failure()
        return len(memoryview(data).cast("B"))

    async def flush(self) -> None:
        """See `FileWriter.flush`."""
        async with self._turn:
            self._check_writable()
            await run_to_completion(self._store_all({WRITER: self._lease.token}))

    async def commit(self) -> None:
        """See `FileWriter.commit`. The file is at its path already; the token goes from it."""
        async with self._turn:
            self._check_writable()
            await run_to_completion(self._store_all(None))
            self._committed = True

    async def cancel(self) -> None:
        """See `FileWriter.cancel`."""
        async with self._turn:
            self._check_writable()
            await run_to_completion(self._cancel())

    async def close(self) -> None:
        """See `FileWriter.close`."""
        async with self._turn:
            if not self._closed:
                await run_to_completion(self._close())

    def _check_writable(self) -> None:
        if self._committed or self._closed:
            raise WriterClosedError(self._path)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _send(self) -> None:
        """Start storing what waits, all of it in one stripe, once fewer than STREAM_DEPTH are under way."""
        while len(self._under_way) >= STREAM_DEPTH:
            # What has failed stays there, to say where the file ends.
            self._raise_failure()
            await asyncio.wait(self._under_way.values(), return_when=asyncio.FIRST_COMPLETED)
        self._raise_failure()
        part, self._waiting = bytes(self._waiting), bytearray()
        start = self._sent
        self._sent += len(part)
        self._modified = None
        number, within = divmod(start, self._stripe)
        full = within + len(part) == self._stripe
        steps = self._steps_to(number, within)
        self._tagged = not full
        sending = asyncio.create_task(self._store(number, [*steps, operations.write(part, within)]))
        self._under_way[start] = sending
        sending.add_done_callback(lambda _: self._sent_off(start))

    def _steps_to(self, number: int, within: int) -> list[operations.Step]:
        """What makes sure that a stripe is this writer's, before it is written to."""
        token = self._lease.token
        if number == 0 or self._tagged:
            return [operations.expect_entry(WRITER, token)]
        claim = operations.set_entries({WRITER: token})
        # What is not new is the end of what an earlier writer closed.
        return [claim] if within else [operations.create_new(), claim]

    async def _store(self, number: int, steps: list[operations.Step]) -> None:
        name = stripe_name(self._data, number)
        async with self._pool.data:
            try:
                await self._pool.write(name, *steps)
            except FileExistsError:
                if not self._predecessor:
                    raise
                # It died with this stripe on its way.
                await self._pool.write(
                    name, operations.expect_entry(WRITER, self._predecessor), operations.remove()
                )
                await self._pool.write(name, *steps)

    def _sent_off(self, start: int) -> None:
        error = self._under_way[start].exception()
        if error is None:
            del self._under_way[start]
        elif self._failure is None:
            self._failure = (
                storage_error(self._path, error)
                if isinstance(error, OSError)
                else DriverError(NAME, f"{self._path}: {error!r}")
            )

    async def _settle(self) -> None:
        """Wait for what is under way. After a failure the file ends before the first part that is lost."""
        if self._under_way:
            await asyncio.wait(self._under_way.values())
            # Their callbacks run before this task does.
            await asyncio.sleep(0)
        if self._failure is not None:
            if self._under_way:
                self._sent = min(self._under_way)
                self._under_way.clear()
            self._waiting.clear()

    async def _store_all(self, writer: dict[str, str] | None) -> None:
        """Store everything and let stripe 0 say so, and `writer` of the writer (None: nothing)."""
        self._raise_failure()
        try:
            await self._record(writer)
        except StorageError as error:
            # Whether the file is as long as it was to be is in doubt.
            self._failure = self._failure or error
            raise

    async def _record(self, writer: dict[str, str] | None) -> None:
        if self._waiting:
            await self._send()
        await self._settle()
        self._raise_failure()
        with storage_errors(self._path):
            await self._write_size(
                operations.remove_entry(WRITER) if writer is None else operations.set_entries(writer)
            )
            if await self._folders.entry(self._path) != self._data:
                raise PathNotFoundError(self._path)

    async def _write_size(self, mark: operations.Step) -> None:
        await self._pool.write(
            stripe_name(self._data, 0),
            operations.expect_entry(WRITER, self._lease.token),
            operations.set_attribute(TOTAL_SIZE, pack_size(self._sent)),
            mark,
            modified=self._modified,
        )
        self._recorded = self._sent

    async def _close(self) -> None:
        try:
            if not self._committed:
                await self._settle()
                if self._failure is None:
                    await self._record({WRITER: CLOSED})
                else:
                    await self._keep_what_is_stored()
                    raise self._failure
        except PathNotFoundError:
            await self._remove_what_nobody_sees()
            raise
        finally:
            self._closed = True
            await self._lease.release()

    async def _keep_what_is_stored(self) -> None:
        """After a failure: let the next writer find all that came before it."""
        if self._sent > self._recorded:
            with storage_errors(self._path):
                await self._write_size(operations.set_entries({WRITER: self._lease.token}))

    async def _cancel(self) -> None:
        try:
            await self._settle()
            with storage_errors(self._path):
                if await self._folders.remove(self._path, self._data):
                    await self._stripes.discard(self._data, self._path)
                else:
                    await self._remove_what_nobody_sees()
        finally:
            self._closed = True
            await self._lease.release()

    async def _remove_what_nobody_sees(self) -> None:
        """Remove the stripes that were made after somebody else deleted the file.

        Only when stripe 0 is gone: the data of a file that was moved away has another path.
        """
        with storage_errors(self._path):
            try:
                await self._pool.stat(stripe_name(self._data, 0))
            except FileNotFoundError:
                await self._stripes.remove_from(self._data, 1)

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(
                f"the writer of {self._path} was not closed", ResourceWarning, source=self, stacklevel=1
            )
