"""How much memory the bodies that are being received take, all together."""

from __future__ import annotations

# Bytes of a block. A large one costs less for each byte (threads are woken and the disk is waited for once
# for each block), and more memory; a body that is no longer than a few small ones gains nothing by it.
SMALL_BLOCK = 1 << 20
LARGE_BLOCK = 8 << 20

# Blocks of a body: an upload works on one and has the next one ready, while the third is filled.
BLOCKS = 3

# A client that is alone gets the largest blocks. Eight that come together take 57 MiB.
_BYTES = 2 * BLOCKS * LARGE_BLOCK


class BodyMemory:
    """Shares out `size` bytes among the bodies that turn out long; small blocks every body has."""

    def __init__(self, size: int = _BYTES) -> None:
        self._free = size

    def take(self) -> int:
        """How large the caller's blocks may be from now on, in bytes: a power of two, SMALL_BLOCK or more.

        That is the more the fewer ask: nobody gets more than half of what is left. To be given back.
        """
        block = LARGE_BLOCK
        while block > SMALL_BLOCK and 2 * BLOCKS * block > self._free:
            block //= 2
        self._free -= BLOCKS * block
        return block

    def give_back(self, block: int) -> None:
        """Give back what `take` gave."""
        self._free += BLOCKS * block
