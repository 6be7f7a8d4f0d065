"""librados for asyncio: operations on one pool as awaitable calls.

Each goes out as an asynchronous operation of librados and comes back through a callback, in a thread of
librados' own, that hands the result to the event loop. Only what the Python binding cannot do that way
(extended attributes, listing a pool, the version of an object) runs in a few threads.

Everything raises OSError with the errno of the OSD or the monitor: FileNotFoundError for an object that is
not there, TimeoutError when there is no answer in time. A change whose answer did not come may have
happened, or happen yet.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from blob_service.drivers.errors import DriverError
from blob_service.drivers.rados.operations import Step
from blob_service.drivers.rados.settings import NAME
from blob_service.drivers.threads import ThreadPool

_T = TypeVar("_T")

_THREADS = 8
# Names of objects, taken from a listing of the pool in one go.
_NAMES = 1000
# What an OSD answers at most at once is 1024 entries, unless its operator says otherwise
# (osd_max_omap_entries_per_request).
OMAP_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What an OSD knows of an object: bytes, and the second of its last change."""

    size: int
    modified: int


class Pool:
    """One namespace of a pool. `data` bounds how many operations that carry data are under way at once."""

    def __init__(self, library: Any, cluster: Any, context: Any, *, max_inflight: int) -> None:
        self._library = library
        self._cluster = cluster
        self._context = context
        self._threads = ThreadPool(NAME, _THREADS)
        self._pending: set[asyncio.Future[None]] = set()
        # librados ends the process when a context is used that was closed.
        self._closed = False
        self.data = asyncio.Semaphore(max_inflight)

    async def write(self, name: str, *steps: Step, modified: int | None = None) -> None:
        """Do the steps to an object, all or none; durable when this returns.

        `modified` is what the object then says of the time of its last change; without it, that it was now.
        """
        self._check_open()
        operation = self._context.create_write_op()
        try:
            for step in steps:
                step(self._context, operation)
        except BaseException:
            operation.release()
            raise
        # librados leaves the time to the caller: 0 would be 1970.
        seconds = int(time.time()) if modified is None else modified
        await self._submit(
            lambda done: self._context.operate_aio_write_op(operation, name, done, mtime=seconds),
            lambda: None,
            operation.release,
        )

    async def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of an object, fewer than `length` where it ends."""
        return await self._submit(
            lambda done: self._context.aio_read(name, length, offset, done), lambda data: bytes(data or b"")
        )

    async def stat(self, name: str) -> ObjectStat:
        """Size and time of an object."""
        return await self._submit(
            lambda done: self._context.aio_stat(name, done),
            lambda size, modified: ObjectStat(size, int(time.mktime(modified))),
        )

    async def entries(self, name: str, *, after: str = "", limit: int = OMAP_PAGE) -> list[tuple[str, str]]:
        """Keys of the omap greater than `after`, in byte order, with their values; at most `limit`.

        Fewer do not mean that there are no more: an OSD may answer less than it is asked for. None at all do.
        """
        return await self._read_omap(
            name, lambda operation: self._context.get_omap_vals(operation, after, "", limit)
        )

    async def entry(self, name: str, *keys: str) -> dict[str, str]:
        """The values of those of the keys that the omap has."""
        found = await self._read_omap(
            name, lambda operation: self._context.get_omap_vals_by_keys(operation, keys)
        )
        return dict(found)

    async def call(self, name: str, class_name: str, method: str, argument: bytes) -> bytes:
        """What a method of an object class, which changes nothing, says of an object."""
        return await self._submit(
            lambda done: self._context.aio_execute(name, class_name, method, argument, oncomplete=done),
            lambda data: bytes(data or b""),
        )

    async def attribute(self, name: str, attribute: str) -> bytes:
        """An extended attribute; OSError ENODATA when the object has none of that name."""
        value: bytes = await self._run(lambda: self._context.get_xattr(name, attribute))
        return value

    async def names(self) -> AsyncIterator[str]:
        """The names of all objects of the namespace, in no order, as they are found."""
        objects = await self._run(lambda: iter(self._context.list_objects()))
        while page := await self._run(lambda: [found.key for found in islice(objects, _NAMES)]):
            for name in page:
                yield name

    async def remove_if_empty(self, name: str) -> bool:
        """Remove an object whose omap has no keys, unless somebody is just adding one; whether it is gone."""
        return await self._run(lambda: self._remove_if_empty(name))

    async def close(self) -> None:
        """Wait for what is under way, which has its timeout, and disconnect. Later calls are refused."""
        self._closed = True
        while self._pending:
            await asyncio.wait(set(self._pending))

        def disconnect() -> None:
            self._context.close()
            self._cluster.shutdown()

        # The threads use the connection as well.
        await self._threads.close()
        await asyncio.to_thread(disconnect)

    def _check_open(self) -> None:
        if self._closed:
            raise DriverError(NAME, "the driver is closed")

    async def _read_omap(self, name: str, ask: Callable[[Any], tuple[Any, int]]) -> list[tuple[str, str]]:
        self._check_open()
        operation = self._context.create_read_op()
        answer, _ = ask(operation)
        return await self._submit(
            lambda done: self._context.operate_aio_read_op(operation, name, done),
            # An empty value comes as None.
            lambda: [(key, (value or b"").decode()) for key, value in answer],
            operation.release,
        )

    async def _run(self, call: Callable[[], _T]) -> _T:
        def run() -> _T:
            with self._os_errors():
                return call()

        self._check_open()
        return await self._threads.run(run)

    async def _submit(
        self,
        start: Callable[[Callable[..., None]], Any],
        result: Callable[..., _T],
        release: Callable[[], None] = lambda: None,
    ) -> _T:
        """Start an operation and await its end. It goes on when the caller is cancelled.

        `result` makes of librados' answer what is returned. It and `release` hold what librados writes to,
        which therefore stays until the operation has ended.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()

        def finish(code: int, *values: Any) -> None:
            self._pending.discard(ended)
            ended.set_result(None)
            if not answer.cancelled():
                if code < 0:
                    answer.set_exception(_failure(-code))
                else:
                    answer.set_result(result(*values))
            release()

        def done(completion: Any, *values: Any) -> None:
            # In a thread of librados.
            loop.call_soon_threadsafe(finish, completion.get_return_value(), *values)

        try:
            with self._os_errors():
                start(done)
        except OSError:
            release()
            raise
        self._pending.add(ended)
        return await answer

    def _remove_if_empty(self, name: str) -> bool:
        # A context remembers the last version that it saw: this one is nobody else's.
        with self._cluster.open_ioctx2(self._context.get_pool_id()) as context:
            context.set_namespace(self._context.get_namespace())
            with _operation(context.create_read_op()) as reading:
                entries, _ = context.get_omap_vals(reading, "", "", 1)
                try:
                    context.operate_read_op(reading, name)
                except self._library.ObjectNotFound:
                    return True
                if next(iter(entries), None) is not None:
                    return False
            with _operation(context.create_write_op()) as removing:
                removing.assert_version(context.get_last_version())
                removing.remove()
                try:
                    context.operate_write_op(removing, name)
                except self._library.Error as error:
                    if error.errno in (errno.ERANGE, errno.EOVERFLOW, errno.ENOENT):
                        return False
                    raise
        return True

    @contextmanager
    def _os_errors(self) -> Iterator[None]:
        try:
            yield
        except self._library.Error as error:
            raise _failure(getattr(error, "errno", None) or errno.EIO) from error


@contextmanager
def _operation(operation: Any) -> Iterator[Any]:
    try:
        yield operation
    finally:
        operation.release()


def _failure(code: int) -> OSError:
    # Of the class that goes with the code, such as FileNotFoundError.
    return OSError(code, os.strerror(code))
