"""What is the same for every backend: checked arguments, bounded concurrency, timing, logs, named errors."""

from __future__ import annotations

import asyncio
import builtins
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext
from contextvars import ContextVar
from copy import copy
from functools import cache
from time import perf_counter
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import structlog
from prometheus_client import Histogram

from blob_service.drivers.errors import (
    InvalidOffsetError,
    PathNotFoundError,
    StorageError,
    UnsupportedMethodError,
)
from blob_service.drivers.interface import (
    FileInfo,
    FileReader,
    FileWriter,
    Finding,
    RedirectRequest,
    StorageDriver,
)
from blob_service.drivers.paths import check_folder, check_path, check_relative
from moorage import tracing

_P = ParamSpec("_P")
_T = TypeVar("_T")

# distribution's metric and its names for the actions, so that its dashboards go on working.
STORAGE_ACTION_SECONDS = Histogram(
    "registry_storage_action_seconds",
    "How long calls of the storage driver took, waiting for their turn included",
    ["driver", "action"],
)

_log = structlog.get_logger(__name__)

# Whose turn the calls have that are made here: that of the work that they are part of.
_turn_of: ContextVar[object | None] = ContextVar("turn_of", default=None)
_NO_TURN: AbstractAsyncContextManager[Any] = nullcontext()


@cache
def _seconds_of(driver: str, action: str) -> Histogram:
    """The metric of one action: to look it up costs more than to observe it."""
    return STORAGE_ACTION_SECONDS.labels(driver, action)


class BoundedDriver(StorageDriver):
    """A driver around a backend, which then sees only valid arguments and a bounded number of calls at once.

    The bound is on calls of the driver itself: opening a reader or writer counts, and so does each step of
    a walk. Reading a chunk or writing one does not, so a slow client takes nobody's turn; it is timed.
    """

    def __init__(self, backend: StorageDriver, *, max_calls: int | None = None) -> None:
        self._backend = backend
        self._named_errors = _NamedErrors(backend.name)
        self._turns: AbstractAsyncContextManager[Any] = (
            nullcontext() if max_calls is None else asyncio.Semaphore(max_calls)
        )

    @property
    def name(self) -> str:
        """The backend's name."""
        return self._backend.name

    @property
    def transient(self) -> StorageDriver:
        """See `StorageDriver.transient`."""
        driver = copy(self)
        driver._backend = self._backend.transient
        return driver

    def parts(self, calls: int) -> int:
        """See `StorageDriver.parts`."""
        return self._backend.parts(calls)

    async def together(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """See `StorageDriver.together`: it takes one turn, and its calls none of their own."""

        async def counted() -> _T:
            token = _turn_of.set(self._turns)
            try:
                return await work()
            finally:
                _turn_of.reset(token)

        async with self._turn():
            with self._named_errors:
                return await self._backend.together(counted)

    def _turn(self) -> AbstractAsyncContextManager[Any]:
        return _NO_TURN if _turn_of.get() is self._turns else self._turns

    async def get_content(self, path: str) -> bytes:
        """See `StorageDriver.get_content`."""
        with self._named_errors:
            check_path(path)
        return await self._call("GetContent", path, self._backend.get_content, path)

    async def put_content(self, path: str, content: bytes) -> None:
        """See `StorageDriver.put_content`."""
        with self._named_errors:
            check_path(path)
        await self._call("PutContent", path, self._backend.put_content, path, content)

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        """See `StorageDriver.reader`."""
        with self._named_errors:
            check_path(path)
            if offset < 0:
                raise InvalidOffsetError(path, offset)
        if length is not None and length < 0:
            raise ValueError(f"length must not be negative, got {length}")
        reader = await self._call("Reader", path, self._backend.reader, path, offset, length=length)
        return _MeteredReader(reader, self._named_errors, _StreamMeter(self.name, "Reader", path))

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        """See `StorageDriver.writer`."""
        with self._named_errors:
            check_path(path)
        writer = await self._call("Writer", path, self._backend.writer, path, append=append)
        return _MeteredWriter(writer, self._named_errors, _StreamMeter(self.name, "Writer", path))

    async def stat(self, path: str) -> FileInfo:
        """See `StorageDriver.stat`."""
        with self._named_errors:
            check_folder(path)
        return await self._call("Stat", path, self._backend.stat, path)

    async def list(
        self, path: str, *, after: str = "", limit: int | None = None, having: str = ""
    ) -> builtins.list[str]:
        """See `StorageDriver.list`."""
        with self._named_errors:
            check_folder(path)
            if having:
                check_relative(having)
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        return await self._call(
            "List", path, self._backend.list, path, after=after, limit=limit, having=having
        )

    async def move(self, source: str, destination: str) -> None:
        """See `StorageDriver.move`."""
        with self._named_errors:
            check_path(source)
            check_path(destination)
        await self._call("Move", f"{source}, {destination}", self._backend.move, source, destination)

    async def delete(self, path: str) -> None:
        """See `StorageDriver.delete`."""
        with self._named_errors:
            check_path(path)
        await self._call("Delete", path, self._backend.delete, path)

    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        """See `StorageDriver.redirect_url`."""
        with self._named_errors:
            check_path(path)
            if request.method not in ("GET", "HEAD"):
                raise UnsupportedMethodError(f"redirect of {request.method}")
        return await self._call("RedirectURL", path, self._backend.redirect_url, request, path)

    def object_key(self, path: str) -> str | None:
        """See `StorageDriver.object_key`."""
        with self._named_errors:
            check_path(path)
        return self._backend.object_key(path)

    async def walk(
        self, path: str, *, start_after: str = "", descend: Callable[[FileInfo], bool] | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """See `StorageDriver.walk`. Timed as a whole, without what the caller does between the steps."""
        with self._named_errors:
            check_folder(path)
            if start_after:
                check_folder(start_after)
        spent = 0.0
        steps = self._backend.walk(path, start_after=start_after, descend=descend)
        try:
            while True:
                started = perf_counter()
                try:
                    async with self._turns:
                        with self._named_errors:
                            info = await anext(steps, None)
                finally:
                    spent += perf_counter() - started
                if info is None:
                    return
                yield info
        finally:
            await steps.aclose()
            self._record("Walk", path, spent)

    async def check(
        self, *, repair: bool, older_than: float, thorough: bool = True
    ) -> AsyncGenerator[Finding, None]:
        """See `StorageDriver.check`. Takes nobody's turn."""
        check = self._backend.check(repair=repair, older_than=older_than, thorough=thorough)
        async with aclosing(check) as findings:
            with self._named_errors:
                async for finding in findings:
                    yield finding

    async def close(self) -> None:
        """See `StorageDriver.close`."""
        with self._named_errors:
            await self._backend.close()

    async def _call(
        self,
        action: str,
        subject: str,
        operation: Callable[_P, Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        started = perf_counter()
        error: BaseException | None = None
        try:
            async with self._turn():
                with self._named_errors:
                    return await operation(*args, **kwargs)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._record(action, subject, perf_counter() - started, error)

    def _record(self, action: str, subject: str, seconds: float, error: BaseException | None = None) -> None:
        _seconds_of(self.name, action).observe(seconds)
        if tracing.is_on():
            # That something is not there is an answer, not a failure.
            failure = None if isinstance(error, PathNotFoundError) else error
            tracing.record(f"{self.name}.{action}", seconds, {"storage.path": subject}, failure)
        _log.debug(f"{self.name}.{action}({subject})", seconds=round(seconds, 6))


class _NamedErrors:
    """A block whose storage errors carry the driver's name. Holds no state, so blocks may overlap."""

    def __init__(self, driver: str) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StorageError):
            error.driver = error.driver or self._driver


class _StreamMeter:
    """Times the steps of one stream, as `Reader.Read` and the like, and logs them once, at its end."""

    def __init__(self, driver: str, stream: str, path: str) -> None:
        self._driver = driver
        self._stream = stream
        self._path = path
        self._bytes = 0
        self._seconds = 0.0
        self._opened = perf_counter()
        self._logged = False

    @contextmanager
    def step(self, action: str) -> Iterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            seconds = perf_counter() - started
            self._seconds += seconds
            _seconds_of(self._driver, f"{self._stream}.{action}").observe(seconds)

    def moved(self, size: int) -> None:
        self._bytes += size

    def ended(self) -> None:
        if not self._logged:
            self._logged = True
            if tracing.is_on():
                attributes: dict[str, str | int | float] = {
                    "storage.path": self._path,
                    "storage.bytes": self._bytes,
                    "storage.seconds": round(self._seconds, 6),
                }
                name = f"{self._driver}.{self._stream}.Stream"
                tracing.record(name, perf_counter() - self._opened, attributes, sys.exception())
            _log.debug(
                f"{self._driver}.{self._stream}({self._path}) has ended",
                bytes=self._bytes,
                seconds=round(self._seconds, 6),
            )


class _MeteredReader(FileReader):
    def __init__(self, reader: FileReader, named_errors: _NamedErrors, meter: _StreamMeter) -> None:
        self._reader = reader
        self._named_errors = named_errors
        self._meter = meter

    @property
    def descriptor(self) -> int | None:
        return self._reader.descriptor

    async def __anext__(self) -> bytes:
        with self._meter.step("Read"), self._named_errors:
            chunk = await anext(self._reader)
        self._meter.moved(len(chunk))
        return chunk

    async def aclose(self) -> None:
        self._meter.ended()
        with self._named_errors:
            await self._reader.aclose()


class _MeteredWriter(FileWriter):
    def __init__(self, writer: FileWriter, named_errors: _NamedErrors, meter: _StreamMeter) -> None:
        self._writer = writer
        self._named_errors = named_errors
        self._meter = meter

    @property
    def size(self) -> int:
        return self._writer.size

    @property
    def modified_ns(self) -> int | None:
        return self._writer.modified_ns

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        with self._meter.step("Write"), self._named_errors:
            written = await self._writer.write(data)
        self._meter.moved(written)
        return written

    async def flush(self) -> None:
        with self._meter.step("Flush"), self._named_errors:
            await self._writer.flush()

    async def commit(self) -> None:
        with self._meter.step("Commit"), self._named_errors:
            await self._writer.commit()

    async def cancel(self) -> None:
        with self._meter.step("Cancel"), self._named_errors:
            await self._writer.cancel()

    async def close(self) -> None:
        try:
            with self._meter.step("Close"), self._named_errors:
                await self._writer.close()
        finally:
            self._meter.ended()
