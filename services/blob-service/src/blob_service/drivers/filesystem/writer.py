"""Writes a file in place, at its own path: there another process finds it and can go on with it."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from blob_service.drivers.errors import StorageError, WriterClosedError
from blob_service.drivers.filesystem.appending import Appending
from blob_service.drivers.filesystem.failures import storage_error
from blob_service.drivers.filesystem.tree import FileTree, check_linked
from blob_service.drivers.interface import FileWriter
from blob_service.drivers.threads import ThreadPool


class FilesystemWriter(FileWriter):
    """The one writer of a file: the open descriptor holds the file's lock until it is closed."""

    def __init__(
        self,
        pool: ThreadPool,
        tree: FileTree,
        path: str,
        descriptor: int,
        size: int,
        *,
        direct: bool,
        clean: bool = False,
    ) -> None:
        """`clean`: there is nothing to sync until something is written."""
        self._pool = pool
        self._tree = tree
        self._path = path
        # None once the writer is closed.
        self._descriptor: int | None = descriptor
        self._size = size
        self._appending = Appending(descriptor, direct=direct)
        self._turn = asyncio.Lock()
        self._committed = False
        self._dirty = not clean
        self._name_is_durable = False
        # Set when a sync failed. The kernel may then have dropped what it could not write, and the next sync
        # would succeed without it: https://wiki.postgresql.org/wiki/Fsync_Errors
        self._failure: StorageError | None = None

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """See `FileWriter.write`."""
        view = memoryview(data).cast("B")
        async with self._turn:
            await self._pool.run(lambda: self._append(view))
        return len(view)

    async def flush(self) -> None:
        """See `FileWriter.flush`."""
        async with self._turn:
            await self._pool.run(self._sync)

    async def commit(self) -> None:
        """See `FileWriter.commit`. The file is at its path already, so it only has to be durable."""
        async with self._turn:
            await self._pool.run(self._commit)

    async def cancel(self) -> None:
        """See `FileWriter.cancel`."""
        async with self._turn:
            await self._pool.complete(self._cancel)

    async def close(self) -> None:
        """See `FileWriter.close`."""
        async with self._turn:
            if self._descriptor is not None:
                await self._pool.complete(self._close)

    # What follows runs in the pool, one call at a time.

    def _writable(self) -> int:
        if self._descriptor is None or self._committed:
            raise WriterClosedError(self._path)
        return self._descriptor

    def _append(self, view: memoryview) -> None:
        self._writable()
        if self._failure is not None:
            raise self._failure
        self._dirty = True
        with self._storage_errors():
            while view:
                written = self._appending.write(view, self._size)
                self._size += written
                view = view[written:]

    def _sync(self) -> None:
        descriptor = self._writable()
        if self._failure is not None:
            raise self._failure
        if self._dirty:
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                self._failure = storage_error(self._pool.driver, self._path, error)
                raise self._failure from error
            self._dirty = False
        with self._storage_errors():
            check_linked(descriptor, self._path)
            if not self._name_is_durable:
                self._tree.sync_folder_of(self._path)
                self._name_is_durable = True

    def _commit(self) -> None:
        self._sync()
        self._committed = True

    def _close(self) -> None:
        try:
            if not self._committed:
                self._leave()
        finally:
            self._release()

    def _leave(self) -> None:
        """What was written stays for whoever goes on: durably, unless the file is a transient one."""
        if self._tree.durable or self._failure is not None:
            self._sync()
            return
        with self._storage_errors():
            check_linked(self._writable(), self._path)

    def _cancel(self) -> None:
        descriptor = self._writable()
        try:
            with self._storage_errors():
                self._tree.remove_open(self._path, descriptor)
        finally:
            self._release()

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with self._storage_errors():
                os.close(descriptor)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(self._pool.driver, self._path, error) from error

    def __del__(self) -> None:
        if self._descriptor is not None:
            warnings.warn(
                f"the writer of {self._path} was not closed", ResourceWarning, source=self, stacklevel=1
            )
            os.close(self._descriptor)
