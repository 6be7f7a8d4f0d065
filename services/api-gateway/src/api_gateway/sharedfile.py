"""A file without a name: the parent of a gateway's workers maps it, and they do by its descriptor."""

from __future__ import annotations

import mmap
import os
import tempfile


class SharedFile:
    """The parent's part: `size` bytes of zeros, in `memory`."""

    def __init__(self, size: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="moorage-")  # noqa: SIM115  closed by `close`
        os.ftruncate(self.descriptor, size)
        self.memory = mmap.mmap(self.descriptor, size)

    @property
    def descriptor(self) -> int:
        """What the workers inherit."""
        return self._file.fileno()

    def close(self) -> None:
        """Share nothing more. No view of `memory` may be left."""
        self.memory.close()
        self._file.close()
