"""What a storage driver raises.

Each error has the name of its `driver`; `BoundedDriver` fills it in where it is missing.
"""

from __future__ import annotations


class StorageError(Exception):
    """Anything that a storage driver refuses or fails at."""

    def __init__(self, message: str, *, driver: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.driver = driver

    def __str__(self) -> str:
        return f"{self.driver}: {self.message}" if self.driver else self.message


class DriverError(StorageError):
    """The backend failed. `detail` is for logs: it may name hosts and folders that no client gets to see."""

    def __init__(self, driver: str, detail: object) -> None:
        super().__init__(str(detail), driver=driver)
        self.detail = detail


class _PathError(StorageError):
    """An error that concerns one path."""

    _sentence = "{path}"

    def __init__(self, path: str) -> None:
        super().__init__(self._sentence.format(path=path))
        self.path = path


class PathNotFoundError(_PathError):
    """There is nothing at the path, or not what the call needs (a folder to list, a file to read)."""

    _sentence = "path not found: {path}"


class InvalidPathError(_PathError):
    """The path is outside the grammar of `paths.py`, or its name is one that the backend cannot store."""

    _sentence = "invalid path: {path!r}"


class WriterBusyError(_PathError):
    """Another writer, of this process or another one, holds the file."""

    _sentence = "another writer holds {path}"


class WriterClosedError(_PathError):
    """The writer was committed, cancelled or closed before this call."""

    _sentence = "the writer of {path} is closed"


class NoSpaceError(_PathError):
    """The backend is full, or its quota is used up."""

    _sentence = "no space left to write {path}"


class InvalidOffsetError(StorageError):
    """A read was to start at a negative offset."""

    def __init__(self, path: str, offset: int) -> None:
        super().__init__(f"invalid offset {offset} for {path}")
        self.path = path
        self.offset = offset


class UnsupportedMethodError(StorageError):
    """The driver has no such operation."""

    def __init__(self, method: str) -> None:
        super().__init__(f"unsupported method: {method}")
        self.method = method
