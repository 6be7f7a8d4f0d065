"""How large the parts of an upload and of a copy are."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blob_service.drivers.s3.parts import (
    EQUAL_PARTS,
    MAX_OBJECT,
    MAX_PART,
    MAX_PARTS,
    MIN_PART,
    copied_parts,
    part_sizes,
)

MIB = 1 << 20
FIRST_SIZES = st.sampled_from([MIN_PART, 8 * MIB, 10 * MIB, 100 * MIB, 1 << 30, MAX_PART])


@given(first=FIRST_SIZES)
def test_five_tebibytes_fit_into_ten_thousand_parts(first: int) -> None:
    sizes = part_sizes(first)
    assert sizes.capacity >= MAX_OBJECT
    assert sizes.whole(sizes.capacity) == MAX_PARTS


@given(first=FIRST_SIZES, number=st.integers(1, MAX_PARTS))
def test_no_part_is_smaller_than_the_one_before_or_larger_than_s3_takes(first: int, number: int) -> None:
    sizes = part_sizes(first)
    assert MIN_PART <= first <= sizes.size(number) <= MAX_PART
    assert number == 1 or sizes.size(number) >= sizes.size(number - 1)


@given(first=FIRST_SIZES)
def test_many_parts_are_equal_before_they_grow(first: int) -> None:
    assert {part_sizes(first).size(number) for number in range(1, EQUAL_PARTS + 1)} == {first}


def test_a_blob_of_forty_gibibytes_has_parts_of_ten_mebibytes_and_one_of_a_hundred_larger_ones() -> None:
    sizes = part_sizes(10 * MIB)
    assert sizes.size(sizes.whole(39 << 30) + 1) == 10 * MIB
    assert sizes.size(sizes.whole(100 << 30) + 1) == 80 * MIB


@given(first=FIRST_SIZES, size=st.integers(0, MAX_OBJECT))
def test_a_size_says_how_many_whole_parts_there_are(first: int, size: int) -> None:
    sizes = part_sizes(first)
    count = sizes.whole(size)
    assert sizes.end(count) <= size
    assert count == MAX_PARTS or size < sizes.end(count + 1)


@given(size=st.integers(1, MAX_OBJECT), wanted=st.integers(MIN_PART, MAX_PART))
def test_a_copy_s_parts_cover_the_object_and_are_few_enough(size: int, wanted: int) -> None:
    ranges = copied_parts(size, wanted)
    assert len(ranges) <= MAX_PARTS
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size - 1
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))
    assert max(last - first + 1 for first, last in ranges) <= MAX_PART
