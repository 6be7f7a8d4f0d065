"""The root folder, and the way from it to a folder below: durable when created, and never through a link.

The calls here block.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from blob_service.drivers.filesystem.failures import FileInTheWayError, LinkRefusedError
from blob_service.drivers.filesystem.openat2 import CallMissingError, open_below
from blob_service.drivers.paths import ROOT, components, join

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY

# The root holds all that the registry has: nobody else reads it. Below it the modes are distribution's.
ROOT_MODE = 0o750
FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class _Made:
    """A folder that was made here, and a descriptor of its parent, which has to be synced."""

    parent: int
    path: str


class Root:
    """The folder below which a driver keeps everything.

    The root's own path may go through symbolic links: an operator may put it where there is space. Below it
    no component is followed if it is a link: by openat2(2), or else by opening each by itself, relative to
    the one before. So nothing outside of the root can be reached, whoever puts links there and however fast.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.path.abspath(directory)
        # Folders that a thread here has made, or is making, and that are not yet durable in their parent.
        # Another thread that puts a file below one of them must not rely on it before it is.
        self._making: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._has_openat2 = True

    @contextmanager
    def folder(self, path: str, *, create: bool = False, durable: bool = True) -> Iterator[int]:
        """A file descriptor of the folder at a driver path, open for the duration of the block.

        With `create`, it and those above it are made if they are missing, and all of them are durable when
        the block ends; without `durable` all but the folder itself. The root is made in any case when it is
        what is asked for. Raises FileNotFoundError (with `create`: when somebody deletes the folder
        meanwhile), NotADirectoryError (with `create`: FileInTheWayError), LinkRefusedError, OSError.
        """
        names = components(path)
        made: list[_Made] = []
        descriptor = self._open_root(create or path == ROOT)
        try:
            depth, descriptor = self._shortcut(descriptor, path, names, create)
            for reached in range(depth + 1, len(names) + 1):
                is_durable = durable or reached < len(names)
                child = self._open_child(descriptor, names[:reached], made if is_durable else None, create)
                os.close(descriptor)
                descriptor = child
            yield descriptor
        finally:
            os.close(descriptor)
            self._make_durable(made)

    def _shortcut(self, root: int, path: str, names: tuple[str, ...], create: bool) -> tuple[int, int]:
        """How many of `names` were taken in one step, and where that led; `root` is closed if any was.

        Raises FileNotFoundError. Every other error is left to the one who takes step by step.
        """
        if not self._has_openat2:
            return 0, root
        # Of one component there is nothing to shorten; without `create` all have to be there.
        least = 2 if create else max(2, len(names))
        for depth in range(len(names), least - 1, -1):
            try:
                descriptor = open_below(root, names[:depth])
            except FileNotFoundError:
                if not create:
                    raise
            except CallMissingError:
                self._has_openat2 = False
                break
            except OSError:
                break
            else:
                if create and self._is_being_made(path):
                    # What was found is perhaps not durable.
                    os.close(descriptor)
                    break
                os.close(root)
                return depth, descriptor
        return 0, root

    def _open_root(self, create: bool) -> int:
        try:
            return os.open(self._directory, _FOLDER_FLAGS)
        except FileNotFoundError:
            if not create:
                raise
        _make_durable_folders(self._directory)
        return os.open(self._directory, _FOLDER_FLAGS)

    def _open_child(self, parent: int, names: tuple[str, ...], made: list[_Made] | None, create: bool) -> int:
        """Open the last of `names`, in its parent, or make it. `made` is for one that is to be durable."""
        name, path = names[-1], join(ROOT, "/".join(names))
        try:
            child = open_folder(parent, name, path)
        except FileNotFoundError:
            if not create:
                raise
            if made is not None:
                made.append(_Made(os.dup(parent), path))
                with self._lock:
                    self._making[path] += 1
            # If somebody else made it this moment, it is perhaps not yet durable: the sync covers both.
            with suppress(FileExistsError):
                os.mkdir(name, FOLDER_MODE, dir_fd=parent)
            return open_folder(parent, name, path)
        except NotADirectoryError as error:
            if not create:
                raise
            raise FileInTheWayError(path) from error
        if create and self._making[path]:
            try:
                sync_folder(parent)
            except OSError:
                os.close(child)
                raise
        return child

    def _is_being_made(self, path: str) -> bool:
        """Whether a folder on the way to `path`, or itself, is made at this moment."""
        return any(path == each or path.startswith(f"{each}/") for each in list(self._making))

    def _make_durable(self, made: list[_Made]) -> None:
        """Sync where folders were made, the innermost first, and close.

        By now the file for which they were made is durable as well. A file system with a journal has written
        the folders with it, so that there is little left to do here.
        """
        failure: OSError | None = None
        for each in reversed(made):
            try:
                sync_folder(each.parent)
            except OSError as error:
                failure = failure or error
            finally:
                os.close(each.parent)
                with self._lock:
                    self._making[each.path] -= 1
                    if not self._making[each.path]:
                        del self._making[each.path]
        if failure is not None:
            raise failure


def sync_folder(descriptor: int) -> None:
    """Make durable which names a folder has."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder and say so in this way; their servers do it unasked.
        if error.errno != errno.EINVAL:
            raise


def open_folder(parent: int, name: str, path: str) -> int:
    """A descriptor of folder `name` in another folder. `path` is for the error.

    Raises FileNotFoundError, NotADirectoryError, LinkRefusedError.
    """
    try:
        return os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and is_link(parent, name):
            raise LinkRefusedError(path) from error
        raise


def is_link(folder: int, name: str) -> bool:
    """Whether `name` in the folder is a symbolic link."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _make_durable_folders(directory: str) -> None:
    parent = os.path.dirname(directory)
    if not os.path.isdir(parent):
        _make_durable_folders(parent)
    with suppress(FileExistsError):
        os.mkdir(directory, ROOT_MODE)
    descriptor = os.open(parent, _FOLDER_FLAGS)
    try:
        sync_folder(descriptor)
    finally:
        os.close(descriptor)
