"""Writing a large file past the page cache.

Through the page cache a pushed layer is copied once more, page by page, and takes the place of layers that
are being pulled; that costs as much processor time as its SHA-256. O_DIRECT (open(2)) hands the writer's own
memory to the disk. It takes whole blocks, at whole offsets, in aligned memory; all else goes the usual way.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

# What is smaller is not worth waiting for the disk.
_LEAST = 256 * 1024

# A page, so that nothing of a page is written both ways; a multiple of any disk's block.
_ALIGNMENT = mmap.PAGESIZE


class Appending:
    """How one open file is written: past the page cache where it can be, if `direct`.

    The descriptor stays its owner's, who calls from one thread at a time.
    """

    def __init__(self, descriptor: int, *, direct: bool) -> None:
        self._descriptor = descriptor
        self._flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        self._direct = False
        # Nobody wants it, or the file system, or the memory that a caller has, is not fit for it.
        self._refused = not direct

    def write(self, view: memoryview, offset: int) -> int:
        """Write what it can of `view` at `offset`, and return how many bytes that is. Raises OSError."""
        whole = len(view) - len(view) % _ALIGNMENT
        if whole >= _LEAST and offset % _ALIGNMENT == 0 and self._switch(direct=True):
            try:
                return os.pwrite(self._descriptor, view[:whole], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._refused = True
        self._switch(direct=False)
        return os.pwrite(self._descriptor, view, offset)

    def _switch(self, *, direct: bool) -> bool:
        """Whether the file is now written as wished."""
        if direct and self._refused:
            return False
        if direct is not self._direct:
            try:
                fcntl.fcntl(self._descriptor, fcntl.F_SETFL, self._flags | (os.O_DIRECT if direct else 0))
            except OSError as error:
                if not direct or error.errno != errno.EINVAL:
                    raise
                self._refused = True
                return False
            self._direct = direct
        return True
