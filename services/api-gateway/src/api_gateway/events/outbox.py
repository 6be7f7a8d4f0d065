"""The outbox: events on this machine's disk that JetStream does not have yet.

One SQLite file, in a folder that all processes of a gateway share. An event is in it, on disk, before
`append` returns; concurrent appends go as one transaction, in the order in which they came.

Beside it stands a small file that all processes map, so that they see without a system call whether anything
is in the outbox. It changes under the database's write lock only: it says that something is there before the
transaction that puts the first event there commits, and that nothing is there after the one that took the
last event out has. Whatever dies in between, it errs on the side of saying that something is there, and the
next one who drains corrects it.

On a full disk nothing is put in, and what is there can still be taken out: see `reserve`.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from api_gateway.events.message import Message
from api_gateway.events.reserve import Reserve

log = structlog.get_logger("api_gateway.events")

_T = TypeVar("_T")

_DATABASE = "events.db"
_STATE = "state"

# The format of the database, as the schema has it; another number is another version's.
_VERSION = 1

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS events (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  recorded REAL NOT NULL,
  id TEXT NOT NULL,
  repository TEXT NOT NULL,
  subject TEXT NOT NULL,
  body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS totals (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  events INTEGER,
  bytes INTEGER
);
INSERT OR IGNORE INTO totals VALUES (1, 0, 0);
PRAGMA user_version = 1;
COMMIT;
"""

# Seconds that one process waits for another's transaction, and that a change waits for its own.
_BUSY = 5.0
_APPEND_TIMEOUT = 10.0

# Seconds for which nothing is tried after the disk has failed.
_RECOVERY = 1.0

# Pages of 4 KiB that SQLite's log of transactions grows to before they are written to the database, and bytes
# that it keeps afterwards. Much less than the reserve.
_LOG_PAGES = 512
_LOG_BYTES = 1 << 20

# Pages that the database has too many when it gives them back to the disk.
_FREE_PAGES = 256

# Bytes that are read at once, about, at most.
_MOST_READ = 4 << 20


class OutboxError(Exception):
    """The outbox cannot be written or read. `str()` says why."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """What is in an outbox; `oldest` is when its oldest event was put there, in seconds since the epoch."""

    events: int = 0
    bytes: int = 0
    oldest: float = 0.0

    @property
    def age(self) -> float:
        """Seconds since the oldest event was put there; 0 for none."""
        return max(time.time() - self.oldest, 0.0) if self.events else 0.0


_LAYOUT = struct.Struct("<QQd")


class SharedState:
    """The file that says what is in the outbox. Made when it is not there; raises OSError."""

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder / _STATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Blocks and not a hole: writing to a hole of a full disk would end the process.
            os.posix_fallocate(descriptor, 0, _LAYOUT.size)
            self._memory = mmap.mmap(descriptor, _LAYOUT.size)
        finally:
            os.close(descriptor)

    def read(self) -> OutboxState:
        """What is in the outbox."""
        return OutboxState(*_LAYOUT.unpack_from(self._memory))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in the outbox."""
        return self._memory[:8] == b"\0\0\0\0\0\0\0\0"

    def write(self, state: OutboxState) -> None:
        """Say what is there; by the holder of the database's write lock."""
        _LAYOUT.pack_into(self._memory, 0, state.events, state.bytes, state.oldest)

    def close(self) -> None:
        """Look no more."""
        self._memory.close()


def prepare_folder(folder: Path) -> None:
    """Make the outbox's folder, for its owner alone; raises OSError when it cannot be written."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Now, and not when the first event comes.
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13), str(folder))


class Outbox:
    """The outbox of a gateway. All but `state` and `is_empty` run in its thread, and raise OutboxError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = SharedState(folder)
        self._reserve = Reserve(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._waiting: list[tuple[Sequence[Message], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._failed_until = 0.0

    @classmethod
    async def open(cls, folder: Path) -> Outbox:
        """Open it, or make it. Raises OutboxError when it is there and cannot be read, and OSError."""
        prepare_folder(folder)
        outbox = cls(folder)
        try:
            await outbox._run(outbox._connect)
        except OutboxError:
            outbox._state.close()
            outbox._thread.shutdown()
            raise
        return outbox

    @property
    def state(self) -> OutboxState:
        """What is in it."""
        return self._state.read()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return self._state.is_empty

    @property
    def has_failed(self) -> bool:
        """Whether it could not be written a moment ago."""
        return time.monotonic() < self._failed_until

    async def append(self, messages: Sequence[Message]) -> None:
        """Put messages behind all that is there: on disk when this returns.

        When it raises, or is cancelled, they may be there nevertheless.
        """
        appended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, appended))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        try:
            async with asyncio.timeout(_APPEND_TIMEOUT):
                await appended
        except TimeoutError:
            raise OutboxError(f"not written within {_APPEND_TIMEOUT:g} seconds") from None

    async def first(self, most: int) -> list[tuple[int, Message]]:
        """The messages that came first, at most so many, each with its position."""
        return await self._run(partial(self._select, most))

    async def remove(self, positions: Sequence[int]) -> None:
        """Take messages out."""
        await self._run(partial(self._delete, positions))

    async def close(self) -> None:
        """Write what waits, and close it."""
        if self._writing is not None:
            await self._writing
        await self._run(self._database.close)
        self._thread.shutdown()
        self._state.close()

    async def _write(self) -> None:
        """Write what waits, as often as something has come meanwhile."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                messages = [message for each, _ in batch for message in each]
                try:
                    await self._run(partial(self._insert, messages))
                except OutboxError as error:
                    self._failed_until = time.monotonic() + _RECOVERY
                    log.error(  # noqa: TRY400  the reason is in words
                        "the outbox cannot be written", folder=str(self._folder), reason=str(error)
                    )
                    for _, appended in batch:
                        if not appended.done():
                            appended.set_exception(OutboxError(str(error)))
                else:
                    for _, appended in batch:
                        if not appended.done():
                            appended.set_result(None)
        finally:
            self._writing = None

    async def _run(self, function: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except sqlite3.Error as error:
            raise OutboxError(f"{self._folder / _DATABASE}: {error}") from error
        except OSError as error:
            raise OutboxError(f"{self._folder}: {error.strerror}") from error

    # In the thread

    def _connect(self) -> None:
        try:
            self._open_database()
        except sqlite3.OperationalError:
            # An outbox that was left on a full disk: opening it takes room, too.
            self._reserve.release()
            self._open_database()
        try:
            self._reserve.hold()
        except OSError as error:
            log.warning("the outbox takes no events", folder=str(self._folder), reason=error.strerror)

    def _open_database(self) -> None:
        path = self._folder / _DATABASE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._database = sqlite3.connect(
            path, timeout=_BUSY, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            found = _version(self._database, path)
            # Counts while the file is empty only.
            self._database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._database.execute("PRAGMA journal_mode = WAL")
            # A transaction is on the disk when it has committed.
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            self._database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            if found == 0:
                self._database.executescript(_SCHEMA)
            self._refresh()
        except (sqlite3.Error, OutboxError):
            self._database.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _insert(self, messages: Iterable[Message]) -> None:
        self._reserve.hold()
        now = time.time()
        rows = [(now, each.id, each.repository, each.subject, each.body) for each in messages]
        try:
            with self._transaction() as database:
                database.executemany(
                    "INSERT INTO events (recorded, id, repository, subject, body) VALUES (?, ?, ?, ?, ?)",
                    rows,
                )
                database.execute(
                    "UPDATE totals SET events = events + ?, bytes = bytes + ?",
                    (len(rows), sum(len(row[4]) for row in rows)),
                )
                # Before the commit: see above.
                self._state.write(self._found(database))
        except sqlite3.Error:
            self._refresh()
            raise

    def _select(self, most: int) -> list[tuple[int, Message]]:
        found: list[tuple[int, Message]] = []
        size = 0
        cursor = self._database.execute(
            "SELECT position, id, repository, subject, body FROM events ORDER BY position LIMIT ?", (most,)
        )
        for position, *fields in cursor:
            message = Message(*fields)
            found.append((position, message))
            size += len(message.body)
            if size >= _MOST_READ:
                break
        cursor.close()
        if not found:
            self._refresh()
        return found

    def _delete(self, positions: Sequence[int]) -> None:
        try:
            self._delete_rows(positions)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            log.warning("the disk of the outbox is full: its reserve is used to empty it")
            self._reserve.release()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._delete_rows(positions)
        self._refresh()
        if self._state.is_empty:
            self._give_back()

    def _delete_rows(self, positions: Sequence[int]) -> None:
        with self._transaction() as database:
            for position in positions:
                removed = database.execute(
                    "DELETE FROM events WHERE position = ? RETURNING length(body)", (position,)
                ).fetchall()
                for row in removed:
                    database.execute("UPDATE totals SET events = events - 1, bytes = bytes - ?", row)

    def _give_back(self) -> None:
        """Give the disk back what an outage took."""
        if self._database.execute("PRAGMA freelist_count").fetchone()[0] <= _FREE_PAGES:
            return
        try:
            # As a script: a statement that gives no rows would be left after its first page.
            self._database.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
        except sqlite3.OperationalError as error:
            log.warning("the outbox is empty and keeps its size on the disk", reason=str(error))

    def _refresh(self) -> None:
        """Say what is there, now that it is committed."""
        with self._transaction() as database:
            self._state.write(self._found(database))

    @staticmethod
    def _found(database: sqlite3.Connection) -> OutboxState:
        events, size = database.execute("SELECT events, bytes FROM totals").fetchone()
        oldest = database.execute("SELECT recorded FROM events ORDER BY position LIMIT 1").fetchone()
        return OutboxState(events, size, oldest[0] if oldest else 0.0)


def _version(database: sqlite3.Connection, path: Path) -> int:
    """The format of what is there, 0 for nothing; raises OutboxError for one that is not known."""
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, _VERSION):
        raise OutboxError(f"{path}: of another version ({found})")
    return found
