"""How large each part of a multipart upload is.

S3 takes 10,000 parts of 5 MiB to 5 GiB (the last one may be smaller), and an object of 5 TiB. A part's size
depends on its number alone, so where it begins is known to whoever continues the upload, and a part that was
uploaded again covers the same bytes. Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

MIB = 1 << 20

MIN_PART = 5 * MIB
MAX_PART = 5 << 30
MAX_PARTS = 10_000
MAX_OBJECT = 5 << 40

# So many parts are of one size, whatever follows: some backends (Cloudflare R2) take no others. With parts of
# 10 MiB these hold 40 GiB.
EQUAL_PARTS = 4_000


class PartSizes:
    """Sizes that begin with `first` bytes and double in steps as late as lets MAX_OBJECT fit."""

    def __init__(self, first: int) -> None:
        self.first = first
        # Where each part ends; the first entry is where part 1 begins.
        self._ends = (0, *accumulate(_sizes(first)))

    @property
    def capacity(self) -> int:
        """The most bytes that an object of such parts can have."""
        return self._ends[-1]

    def size(self, number: int) -> int:
        """How many bytes part `number` (the first is 1) has, unless it is the last one."""
        return self._ends[number] - self._ends[number - 1]

    def end(self, count: int) -> int:
        """How many bytes the first `count` parts have together."""
        return self._ends[count]

    def whole(self, size: int) -> int:
        """How many whole parts are in `size` bytes."""
        return bisect_right(self._ends, size) - 1


@lru_cache(maxsize=16)
def part_sizes(first: int) -> PartSizes:
    """The sizes that begin with `first` bytes."""
    return PartSizes(first)


def _sizes(first: int) -> list[int]:
    # The longest step between two doublings that still reaches MAX_OBJECT.
    low, high = 1, MAX_PARTS
    while low < high:
        middle = (low + high + 1) // 2
        if sum(_growing(first, middle)) >= MAX_OBJECT:
            low = middle
        else:
            high = middle - 1
    return _growing(first, low)


def _growing(first: int, step: int) -> list[int]:
    grown = range(MAX_PARTS - EQUAL_PARTS)
    return [first] * EQUAL_PARTS + [min(first << (1 + index // step), MAX_PART) for index in grown]


def copied_parts(size: int, wanted: int) -> list[tuple[int, int]]:
    """First and last byte of each part of a copy of `size` bytes, of `wanted` bytes or what 10,000 need."""
    part = max(wanted, -(-size // MAX_PARTS))
    return [(start, min(start + part, size) - 1) for start in range(0, size, part)]
