"""What can go wrong below a root, and what it means to a caller of the driver."""

from __future__ import annotations

import errno

from blob_service.drivers.errors import (
    DriverError,
    InvalidPathError,
    NoSpaceError,
    PathNotFoundError,
    StorageError,
)


class LinkRefusedError(OSError):
    """A symbolic link is in the way. Links below the root are not followed, so that none leads out of it."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ELOOP, "a symbolic link below rootdirectory is not followed", path)


class NotAFileError(OSError):
    """What is at the path is not a regular file."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EISDIR, "not a regular file", path)


class FileInTheWayError(OSError):
    """A folder is needed at the path, and a file is there."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EEXIST, "a file is where a folder is needed", path)


class FolderUnstableError(OSError):
    """The folder at the path was deleted by others each time that it was made."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EAGAIN, "the folder is deleted again and again", path)


def storage_error(driver: str, path: str, error: OSError) -> StorageError:
    """The StorageError for what happened in a call about `path`."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | NotAFileError):
        return PathNotFoundError(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(path)
    if error.errno == errno.ENAMETOOLONG:
        return InvalidPathError(path)
    return DriverError(driver, f"{path}: {error.strerror or error}")
