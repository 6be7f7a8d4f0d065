"""The storage driver interface: what the blob service asks of a backend, and what it may rely on.

The namespace is a tree. Paths are absolute, `/`-separated and limited to the grammar of `paths.py`; `/`
itself always exists, and only `list`, `stat` and `walk` take it. A path is a file or a folder. Folders are
not created: one is there as soon as a file is below it. Whether it outlives its last file is the backend's
affair (a file system keeps it, an object store does not), so callers treat an empty folder and a missing
one alike. To write a file where a folder is, or below a file, is a mistake that a backend refuses with
DriverError if it can see it.

Durable means: survives `kill -9` of the process and loss of power from the moment the call returns.

Every call may raise a StorageError of `errors.py`: DriverError when the backend fails, and those that the
call names. Source of the contract: distribution's `registry/storage/driver` package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from blob_service.concurrency import CALLS_AT_ONCE
from blob_service.drivers.errors import (
    DriverError,
    InvalidOffsetError,
    InvalidPathError,
    NoSpaceError,
    PathNotFoundError,
    StorageError,
    UnsupportedMethodError,
    WriterBusyError,
    WriterClosedError,
)

__all__ = [
    "CHUNK_SIZE",
    "DriverError",
    "FileInfo",
    "FileReader",
    "FileWriter",
    "Finding",
    "InvalidOffsetError",
    "InvalidPathError",
    "NoSpaceError",
    "PathNotFoundError",
    "RedirectRequest",
    "StorageDriver",
    "StorageError",
    "UnsupportedMethodError",
    "WriterBusyError",
    "WriterClosedError",
]

_T = TypeVar("_T")

# The most bytes that a reader hands out at once.
CHUNK_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a backend knows of a path. `size` is in bytes, and 0 for a folder."""

    path: str
    size: int
    # Nanoseconds since 1970, UTC; 0 where the backend keeps no time for a folder.
    modified_ns: int
    is_dir: bool

    @property
    def name(self) -> str:
        """The path's last component; empty for the root."""
        return self.path.rpartition("/")[2]

    @property
    def modified(self) -> datetime:
        """When the content was last written, in UTC, to the microsecond."""
        seconds, nanoseconds = divmod(self.modified_ns, 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a backend that should not be there, or should and is not."""

    # In a few words that are the same for all findings of a kind, such as `unreferenced data`.
    kind: str
    # A path, or the backend's own name of a thing.
    subject: str
    detail: str = ""
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class RedirectRequest:
    """A client's request that might be answered with a redirect."""

    method: str = "GET"
    # The address of the client's host, which a middleware may decide by; empty where it is not known.
    client_address: str = ""


class FileReader(AsyncIterator[bytes]):
    """A file's bytes in order, in chunks of 1 to CHUNK_SIZE bytes; for one task at a time.

    The bytes are those of the file as it was when the reader was opened. If the backend cannot give all of
    them (the file was cut short meanwhile), iteration raises DriverError: a stream that ends without an
    error is complete.

    It holds a resource of the backend until it is exhausted, raises (a cancelled task included) or is
    closed; use it as an asynchronous context manager, or call `aclose` in a `finally`.
    """

    @property
    def descriptor(self) -> int | None:
        """An open file that holds the bytes at their offsets, for sendfile(2); None where there is none.

        It is the reader's, and open until the reader is closed or has handed out its last chunk.
        """
        return None

    @abstractmethod
    async def aclose(self) -> None:
        """Release the backend's resource. Iteration then stops. May be called any number of times."""

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class FileWriter(ABC):
    """Writes one file from front to back. `commit` or `cancel` ends the writing, `close` gives the file up.

    It has the path to itself until it is closed, after a commit too: so the owner can move a committed file
    to where it belongs before another process goes on with it. Every writer is closed in the end; as an
    asynchronous context manager it closes itself.

    Calls on one writer run one after the other, in the order in which they were made. A call whose task is
    cancelled happened whole, in part or not at all: `size` tells, and the writer can go on or be closed.

    If the file is deleted, or replaced through `put_content` or `move`, while the writer has it, then
    `flush`, `commit` and a `close` without a commit raise PathNotFoundError: they never acknowledge bytes
    that are gone.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes in the file: those that were there when it was opened to append, and those written since."""

    @property
    def modified_ns(self) -> int | None:
        """When the bytes were last written that were there when it was opened: nanoseconds since 1970, UTC.

        None where `stat` says it of a file that is not committed, too, and for a new file.
        """
        return None

    @abstractmethod
    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add all of `data` and return its length. The caller leaves `data` alone until then.

        Raises NoSpaceError, WriterClosedError. After an error `size` tells how much of `data` is in the file.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Make durable what was written; a reader that sees the file sees that much of it.

        Raises NoSpaceError, WriterClosedError.

        After a failed flush the file's content is in doubt: the writer refuses everything but `cancel` and
        `close`.
        """

    @abstractmethod
    async def commit(self) -> None:
        """Make what was written durable, and visible under the path. Only `size` and `close` work afterwards.

        Raises NoSpaceError, WriterClosedError; then the writer can still be cancelled or closed.
        """

    @abstractmethod
    async def cancel(self) -> None:
        """Remove the file and close the writer. Raises WriterClosedError."""

    @abstractmethod
    async def close(self) -> None:
        """Give the file up. What was written but not committed is durable, and not published.

        A writer opened with `append` continues from here, in this process or another one. Until the commit
        it is the backend's affair whether `stat`, `list` and `reader` see the file. Does nothing if the
        writer is closed. The backend's resources are released even when this raises (DriverError,
        NoSpaceError).
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class StorageDriver(ABC):
    """A backend. Safe for concurrent tasks of one event loop."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The driver's name in the configuration, in metrics and in errors."""

    @property
    def transient(self) -> StorageDriver:
        """The same storage, for folders that may be gone after a loss of power: those of uploads.

        Through it a file's name, its folder, and that either was removed, need not be durable; nor does what
        `put_content` stores, and what a writer leaves without a flush or a commit. What it flushes or commits
        is, if the name is still there, and where a file is moved to. It shares all that the driver has, and
        is not closed.
        """
        return self

    def parts(self, calls: int) -> int:
        """In how many parts to make so many calls for one request, at once: enough to hide a latency."""
        return min(calls, CALLS_AT_ONCE)

    async def together(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run `work`, whose calls of this driver, and of its readers and writers, follow each other.

        A backend that blocks threads runs it in one of them, instead of handing each call to one. So it may
        await nothing but those calls, and has no event loop. When the caller is cancelled the work may be cut
        off between two calls, or be done to its end. Raises what `work` raises.
        """
        return await work()

    @abstractmethod
    async def get_content(self, path: str) -> bytes:
        """The whole content of a small file.

        Raises InvalidPathError, PathNotFoundError.
        """

    @abstractmethod
    async def put_content(self, path: str, content: bytes) -> None:
        """Store a small file whole, in place of what was there; durable.

        Atomic: whoever reads the path at any moment, also after a crash, gets the old content or the new,
        whole. Raises InvalidPathError, NoSpaceError; then the old content is as it was.
        """

    @abstractmethod
    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        """Read a file from byte `offset`, `length` bytes of it or (None) all that follow.

        A range that goes past the end is cut there; one that starts past the end is empty. Raises
        InvalidPathError, InvalidOffsetError (negative offset), ValueError (negative length) and
        PathNotFoundError, all of them here and not in the iteration.
        """

    @abstractmethod
    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        """Write a file from the beginning, or (`append`) go on with one that was closed but not committed.

        An empty file, however it came about, can be appended to as well. At most one writer has a path at a
        time. Raises InvalidPathError, NoSpaceError, WriterBusyError, and PathNotFoundError when there is
        nothing to append to.
        """

    @abstractmethod
    async def stat(self, path: str) -> FileInfo:
        """What is at the path, `/` included. Raises InvalidPathError, PathNotFoundError."""

    @abstractmethod
    async def list(
        self, path: str, *, after: str = "", limit: int | None = None, having: str = ""
    ) -> list[str]:
        """The absolute paths of a folder's direct children, in byte order, without a slash at the end.

        Only children whose name is greater than `after` (a name, of a child or not); of these only those
        below which the relative path `having` exists, as a file or a folder; of these the first `limit`
        (None for all). One call therefore costs no more than a page of tags needs: `having="current/link"`.

        Raises InvalidPathError, ValueError (negative limit) and PathNotFoundError if the path is not a
        folder.
        """

    @abstractmethod
    async def move(self, source: str, destination: str) -> None:
        """Rename a file, in place of what was at `destination`; durable.

        Nothing happens if the two are the same. Whoever reads `destination` at any moment gets its old
        content or the new, whole. Raises InvalidPathError and PathNotFoundError if `source` is not a file;
        then `destination` is as it was.
        """

    @abstractmethod
    async def delete(self, path: str) -> None:
        """Remove a file, or a folder and all that is below it, what is not committed yet included; durable.

        A folder does not vanish at once: a crash may leave part of it. Files that are created below it
        meanwhile may go or stay. Raises InvalidPathError, PathNotFoundError.
        """

    @abstractmethod
    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        """A URL at which a client can do the request's method (GET or HEAD) itself, or None.

        None means: serve it through the registry. Raises InvalidPathError, and UnsupportedMethodError for
        another method. That the file is there is not checked.
        """

    def object_key(self, path: str) -> str | None:
        """The key (no slash before it) under which an object store serves a file whole; None if none does.

        Source: distribution's `S3BucketKey`, from which the cloudfront middleware makes its URLs. Raises
        InvalidPathError.
        """
        return None

    @abstractmethod
    def walk(
        self, path: str, *, start_after: str = "", descend: Callable[[FileInfo], bool] | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """Everything below a folder, each folder before its content, names in byte order.

        `descend` is asked about each folder that was handed out, once the next entry is asked for: False
        leaves out what is below it. `start_after` (an absolute path, there or not) leaves out what comes
        before it in this order, and the path itself, but not what is below it; folders left out that way
        are entered without asking.

        What is deleted or created meanwhile may be left out or handed out. Between two steps nothing is held,
        so a walk may be left at any time. The first step raises
        InvalidPathError, or PathNotFoundError if `path` is not a folder.
        """

    def check(
        self, *, repair: bool, older_than: float, thorough: bool = True
    ) -> AsyncGenerator[Finding, None]:
        """What crashes have left in the backend, and what is damaged, as it is found.

        `repair` removes or mends what can be, without loss of any file. What was changed in the last
        `older_than` seconds may be the work of somebody who is still at it, and is left alone; so it can run
        while the backend is used. Unless it is `thorough`, it looks only where that takes no reading of
        everything that is stored, which is cheap enough for every day. A backend that leaves nothing behind
        has nothing to find.
        """
        return no_findings()

    @abstractmethod
    async def close(self) -> None:
        """Release what the driver holds. Readers and writers are closed first; no call may follow."""


async def no_findings() -> AsyncGenerator[Finding, None]:
    """What a check finds that finds nothing."""
    none: tuple[Finding, ...] = ()
    for finding in none:
        yield finding
