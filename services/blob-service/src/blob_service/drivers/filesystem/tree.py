"""What the filesystem driver does to files and folders, one call at a time. The calls here block.

A file that is put whole is written to `<name>.<uuid>.tmp` beside it, synced and renamed, as distribution
does it. A crash may leave that file; no listing shows it, and it goes with its folder. Since anybody may
delete a folder while something is written into it, a call that finds its folder gone makes it again and
starts over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import TypeVar

from blob_service.drivers.errors import InvalidPathError, WriterBusyError
from blob_service.drivers.filesystem.failures import FolderUnstableError, LinkRefusedError, NotAFileError
from blob_service.drivers.filesystem.names import LEFTOVER, TMP, first, names, names_having
from blob_service.drivers.filesystem.root import Root, is_link, open_folder, sync_folder
from blob_service.drivers.interface import FileInfo
from blob_service.drivers.paths import ROOT, join, split

_T = TypeVar("_T")

FILE_MODE = 0o644

# O_NONBLOCK is nothing to a regular file. It keeps a thread from waiting for ever on a pipe that somebody put
# there.
_OPEN_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK

_NAME_MAX = 255

# How often a call starts over when others delete and create where it works. Each round takes another change
# between two system calls, so this many in a row do not happen by themselves.
_ATTEMPTS = 100


class FileTree:
    """The files and folders below a root, under their driver paths (which the caller has checked)."""

    def __init__(self, directory: str) -> None:
        self._root = Root(directory)
        # Whether names are made durable: see `StorageDriver.transient`.
        self.durable = True

    def transient(self) -> FileTree:
        """The same tree, in which the names in the folder of a file, and that folder, are not synced."""
        tree = copy(self)
        tree.durable = False
        return tree

    def make_root(self) -> None:
        """Make the root if it is missing. Raises OSError if it cannot be made or is not a folder."""
        with self._root.folder(ROOT):
            return

    def open_to_read(self, path: str) -> tuple[int, int]:
        """A descriptor of a file, and its size.

        Raises FileNotFoundError, NotADirectoryError, NotAFileError.
        """
        folder, name = split(path)
        with self._root.folder(folder) as parent:
            return _open_file(parent, name, path, os.O_RDONLY)

    def read(self, path: str) -> bytes:
        """A file's content. Raises as `open_to_read` does."""
        descriptor, _ = self.open_to_read(path)
        with open(descriptor, "rb", buffering=0) as file:
            return file.readall()

    def replace(self, path: str, content: bytes) -> None:
        """Put a file whole, durably, in place of what was there."""
        folder, name = _split_to_write(path)
        self._in_folder(folder, lambda parent: _replace(parent, name, content, durable=self.durable))

    def open_to_write(self, path: str, *, append: bool) -> tuple[int, int]:
        """A descriptor of a file, locked for its one writer, and its size: 0 unless `append`.

        Raises WriterBusyError, and with `append` FileNotFoundError.
        """
        folder, name = _split_to_write(path)
        if append:
            with self._root.folder(folder) as parent:
                return _open_locked(parent, name, path, append=True)
        return self._in_folder(folder, lambda parent: _open_locked(parent, name, path, append=False))

    def sync_folder_of(self, path: str) -> None:
        """Make durable that `path` is there. Raises FileNotFoundError if its folder is not."""
        if not self.durable:
            return
        with self._root.folder(split(path)[0]) as parent:
            sync_folder(parent)

    def remove_open(self, path: str, descriptor: int) -> None:
        """Remove the open file, unless it was deleted or replaced before."""
        folder, name = split(path)
        with suppress(FileNotFoundError), self._root.folder(folder) as parent:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(descriptor)):
                os.unlink(name, dir_fd=parent)
                sync_folder(parent)

    def rename(self, source: str, destination: str) -> None:
        """Rename a file durably; that it is gone from where it was is not made durable if that is transient.

        Raises FileNotFoundError, NotADirectoryError, NotAFileError about the source.
        """
        source_folder, source_name = split(source)
        folder, name = _split_to_write(destination)
        with self._root.folder(source_folder) as origin:
            for _ in range(_ATTEMPTS):
                if not stat.S_ISREG(os.stat(source_name, dir_fd=origin, follow_symlinks=False).st_mode):
                    raise NotAFileError(source)
                if source == destination:
                    return
                with suppress(FileNotFoundError), self._root.folder(folder, create=True) as target:
                    os.rename(source_name, name, src_dir_fd=origin, dst_dir_fd=target)
                    sync_folder(target)
                    if self.durable and folder != source_folder:
                        sync_folder(origin)
                    return
            raise FolderUnstableError(folder)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, durably. Raises FileNotFoundError."""
        folder, name = split(path)
        with self._root.folder(folder) as parent:
            _remove(parent, name)
            if self.durable:
                sync_folder(parent)

    def stat(self, path: str) -> FileInfo:
        """What is at a path. Raises FileNotFoundError, NotADirectoryError."""
        if path == ROOT:
            with self._root.folder(path) as descriptor:
                return _info(path, os.fstat(descriptor))
        folder, name = split(path)
        with self._root.folder(folder) as parent:
            return _info(path, os.stat(name, dir_fd=parent, follow_symlinks=False))

    def children(self, path: str, *, after: str, limit: int | None, having: str) -> list[str]:
        """See `StorageDriver.list`. Raises FileNotFoundError, NotADirectoryError."""
        with self._root.folder(path) as folder:
            if having:
                found = names_having(folder, after, limit, having)
            else:
                found = first(names(folder, after), limit)
        return [join(path, name) for name in found]

    def infos(self, path: str) -> list[FileInfo]:
        """What is in a folder, in byte order of the names. Raises FileNotFoundError, NotADirectoryError."""
        infos = []
        with self._root.folder(path) as folder:
            for name in sorted(names(folder)):
                # What is deleted meanwhile is left out.
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    infos.append(_info(join(path, name), found))
        return infos

    def leftovers(self, path: str, *, before: int, remove: bool) -> list[str]:
        """The files in a folder that a crash left behind, last written before a time in nanoseconds.

        Removes them if it is to. Raises FileNotFoundError, NotADirectoryError.
        """
        with self._root.folder(path) as folder:
            found = []
            for name in filter(LEFTOVER.fullmatch, os.listdir(folder)):
                with suppress(FileNotFoundError):
                    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(info.st_mode) and info.st_mtime_ns < before:
                        found.append(name)
            if remove:
                for name in found:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
        return sorted(found)

    def _in_folder(self, path: str, call: Callable[[int], _T]) -> _T:
        """`call` with a folder that is made if it is missing; again when somebody deletes it meanwhile."""
        for _ in range(_ATTEMPTS):
            with (
                suppress(FileNotFoundError),
                self._root.folder(path, create=True, durable=self.durable) as folder,
            ):
                return call(folder)
        raise FolderUnstableError(path)


def check_linked(descriptor: int, path: str) -> None:
    """Raise FileNotFoundError if the open file was deleted, or replaced by another one."""
    if os.fstat(descriptor).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "the open file was deleted", path)


def _write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content` at the beginning of a file."""
    view = memoryview(content)
    offset = 0
    while offset < len(view):
        offset += os.pwrite(descriptor, view[offset:], offset)


def _split_to_write(path: str) -> tuple[str, str]:
    folder, name = split(path)
    if LEFTOVER.fullmatch(name):
        # No listing would show it.
        raise InvalidPathError(path)
    return folder, name


def _open_file(parent: int, name: str, path: str, flags: int) -> tuple[int, int]:
    try:
        descriptor = os.open(name, flags | _OPEN_FLAGS, FILE_MODE, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ELOOP and is_link(parent, name):
            raise LinkRefusedError(path) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NotAFileError(path)
    return descriptor, found.st_size


def _open_locked(parent: int, name: str, path: str, *, append: bool) -> tuple[int, int]:
    flags = os.O_WRONLY if append else os.O_WRONLY | os.O_CREAT
    descriptor, _ = _open_file(parent, name, path, flags)
    try:
        _lock(descriptor, path)
        # Whoever had the lock before may have deleted the file, or moved it to where nobody may write to it.
        _check_at(parent, name, descriptor)
        # Only now: the size may have changed before the lock.
        size = os.fstat(descriptor).st_size
        if size and not append:
            os.ftruncate(descriptor, 0)
            os.fdatasync(descriptor)
            size = 0
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, size


def _lock(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WriterBusyError(path) from error


def _check_at(parent: int, name: str, descriptor: int) -> None:
    if not os.path.samestat(os.stat(name, dir_fd=parent, follow_symlinks=False), os.fstat(descriptor)):
        raise FileNotFoundError(errno.ENOENT, "replaced before it was locked", name)


def _replace(parent: int, name: str, content: bytes, *, durable: bool) -> None:
    suffix = f".{uuid.uuid4()}{TMP}"
    temporary = name[: _NAME_MAX - len(suffix)] + suffix
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=parent)
    try:
        try:
            _write_all(descriptor, content)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        # It is gone already if somebody deleted the folder. The caller has to know what went wrong first.
        with suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    if durable:
        sync_folder(parent)


def _remove(parent: int, name: str) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        _remove_folder(parent, name)
    else:
        os.unlink(name, dir_fd=parent)


def _remove_folder(parent: int, name: str) -> None:
    for attempt in range(_ATTEMPTS):
        # Whoever else deletes here does our work: what is gone is gone.
        with suppress(FileNotFoundError):
            descriptor = open_folder(parent, name, name)
            try:
                for child in os.listdir(descriptor):
                    with suppress(FileNotFoundError):
                        _remove(descriptor, child)
            finally:
                os.close(descriptor)
        try:
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            # Something was created in it meanwhile.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _info(path: str, found: os.stat_result) -> FileInfo:
    if stat.S_ISLNK(found.st_mode):
        raise LinkRefusedError(path)
    is_dir = stat.S_ISDIR(found.st_mode)
    return FileInfo(path, 0 if is_dir else found.st_size, found.st_mtime_ns, is_dir)
