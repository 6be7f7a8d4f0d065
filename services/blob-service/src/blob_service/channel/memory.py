"""The memory of the bodies that are being received: how much they take all together, and what stays."""

from __future__ import annotations

import errno
import mmap
from collections import defaultdict

# Bytes of a block. A large one costs less for each byte (threads are woken and the disk is waited for once
# for each block), and more memory; a body that is no longer than a few small ones gains nothing by it.
SMALL_BLOCK = 1 << 20
LARGE_BLOCK = 8 << 20

# Blocks of a body: an upload works on one and has the next one ready, while the third is filled.
BLOCKS = 3

# Room behind a block for what is read beyond it: reading less than this is not worth a call.
SPILL = 16 * 1024

# A client that is alone gets the largest blocks. Eight that come together take 57 MiB.
_BYTES = 2 * BLOCKS * LARGE_BLOCK


class BodyMemory:
    """Shares out `size` bytes among the bodies that turn out long; small blocks every body has.

    The blocks of one body of each kind stay for the next one: to get pages from the system, which clears
    them, is a tenth of the work for a body of 4 MiB.
    """

    def __init__(self, size: int = _BYTES) -> None:
        self._free = size
        # Blocks that nobody uses, by their size.
        self._kept: dict[int, list[mmap.mmap]] = defaultdict(list)

    def take(self) -> int:
        """How large the caller's blocks may be from now on, in bytes: a power of two, SMALL_BLOCK or more.

        That is the more the fewer ask: nobody gets more than half of what is left. To be given back.
        """
        block = LARGE_BLOCK
        while block > SMALL_BLOCK and 2 * BLOCKS * block > self._free:
            block //= 2
        self._free -= BLOCKS * block
        if block < LARGE_BLOCK:
            # What it takes is not there twice.
            self._kept.pop(LARGE_BLOCK, None)
        return block

    def give_back(self, block: int) -> None:
        """Give back what `take` gave."""
        self._free += BLOCKS * block

    def block(self, size: int) -> mmap.mmap:
        """Memory for a block of `size` bytes, with SPILL more behind it. It holds anything."""
        kept = self._kept[size]
        return kept.pop() if kept else _pages(size + SPILL)

    def keep(self, block: mmap.mmap) -> None:
        """Take a block that its body needs no longer, for the next one."""
        size = len(block) - SPILL
        if size in (SMALL_BLOCK, LARGE_BLOCK) and len(self._kept[size]) < BLOCKS:
            self._kept[size].append(block)


def _pages(size: int) -> mmap.mmap:
    """Memory that begins with a page; in large pages where the system has them, for each costs a fault."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= LARGE_BLOCK:
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError as error:
            # A kernel that was built without them.
            if error.errno != errno.EINVAL:
                raise
    return memory
