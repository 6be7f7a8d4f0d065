"""Blocking backend calls in a bounded pool of threads, and what it means to cancel one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from blob_service.drivers.errors import DriverError

_T = TypeVar("_T")


class ThreadPool:
    """At most `size` threads, started as they are needed.

    A blocking call that has begun cannot be cut off. So a cancelled caller waits for it, and only then is
    it told CancelledError: no call goes on behind the back of a caller that believes it over.
    """

    def __init__(self, driver: str, size: int) -> None:
        self.driver = driver
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=driver)

    async def run(self, call: Callable[[], _T], *, discard: Callable[[_T], None] | None = None) -> _T:
        """Run `call` in a thread. When the caller is cancelled before the call has begun, it does not happen.

        When the caller is cancelled later, a result that it never gets is passed to `discard`, in a thread
        as well: this is where an opened file is closed again. Raises what `call` raises.
        """
        pending = self._submit(call)
        future = asyncio.wrap_future(pending)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not pending.cancel():
                try:
                    await settle(future)
                finally:
                    if discard is not None and future.exception() is None:
                        await settle(self.start(lambda: discard(future.result())))
            raise

    async def complete(self, call: Callable[[], _T]) -> _T:
        """Run `call` in a thread whether the caller is cancelled or not: for what releases a resource."""
        future = self.start(call)
        await settle(future)
        return future.result()

    def start(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        """Begin `call` without waiting for it. Whoever starts it awaits or settles it."""
        return asyncio.wrap_future(self._submit(call))

    async def close(self) -> None:
        """Wait for the calls that were made, and end the threads. Later calls raise DriverError."""
        await asyncio.to_thread(self._executor.shutdown)

    def _submit(self, call: Callable[[], _T]) -> Any:
        try:
            return self._executor.submit(call)
        except RuntimeError as error:
            raise DriverError(self.driver, "the driver is closed") from error


async def settle(future: asyncio.Future[Any]) -> None:
    """Wait until `future` is done, whatever its outcome, even if the waiting task is cancelled meanwhile.

    Raises CancelledError at the end if it was.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if not future.cancelled():
        # An exception that nobody looks at is logged by asyncio when the future goes.
        future.exception()
    if cancelled is not None:
        raise cancelled
