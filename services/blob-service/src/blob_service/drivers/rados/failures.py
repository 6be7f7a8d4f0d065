"""What an errno of librados means to a caller of the driver."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from blob_service.drivers.errors import (
    DriverError,
    InvalidPathError,
    NoSpaceError,
    PathNotFoundError,
    StorageError,
)
from blob_service.drivers.rados.settings import NAME

_EXPLANATIONS = {
    errno.ETIMEDOUT: "no answer from the cluster in time (an OSD or its placement group may be down)",
    errno.EPERM: "the user may not do this: it needs the capability 'osd allow rwx pool=POOL'",
    errno.EACCES: "the user may not do this: it needs the capability 'osd allow rwx pool=POOL'",
    errno.ECANCELED: "another writer has taken over the file",
    errno.EEXIST: "another writer has taken over the file",
    errno.ESHUTDOWN: "the cluster has cut this client off (it was put on the blocklist)",
}


def storage_error(path: str, error: OSError) -> StorageError:
    """The StorageError for what happened to an object in a call about `path`."""
    match error.errno:
        case errno.ENOENT:
            return PathNotFoundError(path)
        case errno.ENOSPC | errno.EDQUOT:
            return NoSpaceError(path)
        case errno.ENAMETOOLONG:
            return InvalidPathError(path)
        case code:
            return DriverError(NAME, f"{path}: {_EXPLANATIONS.get(code or 0, error.strerror or error)}")


@contextmanager
def storage_errors(path: str) -> Iterator[None]:
    """A block in which an OSError is raised as the StorageError that it means for `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error
