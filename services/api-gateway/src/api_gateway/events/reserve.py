"""Disk space that is set aside for taking events out of the outbox.

SQLite writes to delete, so on a full disk nothing could ever leave an outbox. Events are put in only while
the reserve is held; to take them out it may be given up.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_NAME = "reserve"

# Bytes: more than the log of transactions grows to, twice, for its pages are then written to the database.
SIZE = 8 << 20


class Reserve:
    """The reserve in an outbox's folder, which all processes of a gateway share."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def hold(self) -> None:
        """Make sure of it; raises OSError when the disk has no room for it."""
        with suppress(FileNotFoundError):
            if self._path.stat().st_size == SIZE:
                return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
        except OSError:
            self.release()
            raise
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give its room to what is to be taken out."""
        self._path.unlink(missing_ok=True)
