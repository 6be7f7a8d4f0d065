"""Byte ranges, case by case as Go's http.ServeContent answers them."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.byteranges import ByteRange, Multipart, UnsatisfiableRangeError, parse_ranges

SIZE = 10


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("bytes=2-", [(2, 8)]),
        ("bytes=-5", [(5, 5)]),
        ("bytes=-50", [(0, 10)]),
        ("bytes=3-50", [(3, 7)]),
        ("bytes=0-0,-1", [(0, 1), (9, 1)]),
        ("bytes= 1-2 , 4-5", [(1, 2), (4, 2)]),
        ("bytes=0-1,50-60", [(0, 2)]),
        ("bytes=0-3,2-5", [(0, 4), (2, 4)]),
    ],
)
def test_ranges_are_cut_to_the_content(header: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_ranges(header, SIZE) == [ByteRange(start, length) for start, length in ranges]


@pytest.mark.parametrize(
    "header",
    [
        "bytes=0-9,0-9",
        "bytes=0-,1-",
        "bytes=" + ",".join(["0-0"] * 500),
        "lines=0-1",
        "bytes",
        "bytes=",
        "bytes=,",
    ],
)
def test_the_whole_is_served_for_what_is_overlapping_too_much_unknown_or_nothing(header: str) -> None:
    assert parse_ranges(header, SIZE) == []


@pytest.mark.parametrize(
    "header",
    [
        "bytes=10-",
        "bytes=10-20,30-",
        "bytes=-0",
        "bytes=-",
        "bytes=5",
        "bytes=4-2",
        "bytes=a-b",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=1.0-2",
        "bytes=0-٣",
        "bytes=0-1,x",
        "bytes=99999999999999999999-",
    ],
)
def test_what_is_malformed_or_outside_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_ranges(header, SIZE)


def test_a_range_of_empty_content_is_the_whole_of_it() -> None:
    assert parse_ranges("bytes=0-10", 0) == []


@given(
    st.one_of(
        st.text(st.characters(max_codepoint=0xFF)).map("bytes={}".format),
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8).map(
            lambda pairs: "bytes=" + ",".join(f"{a}-{b}" for a, b in pairs)
        ),
    ),
    st.integers(0, 20),
)
def test_whatever_is_asked_for_no_byte_outside_the_content_is_served(header: str, size: int) -> None:
    try:
        ranges = parse_ranges(header, size)
    except UnsatisfiableRangeError:
        return
    assert all(part.start >= 0 and part.length > 0 and part.start + part.length <= size for part in ranges)
    assert sum(part.length for part in ranges) <= size


def test_several_ranges_are_framed_as_multipart() -> None:
    content = bytes(range(SIZE))
    multipart = Multipart(
        [ByteRange(0, 2), ByteRange(7, 3)], size=SIZE, content_type="application/octet-stream"
    )
    body = b"".join(head + content[part.start :][: part.length] for head, part in multipart.parts())
    body += multipart.tail
    assert len(body) == multipart.length
    message = message_from_bytes(
        f"Content-Type: {multipart.content_type}\r\n\r\n".encode() + body, policy=policy.HTTP
    )
    parts = [(part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()]
    assert parts == [("bytes 0-1/10", content[:2]), ("bytes 7-9/10", content[7:])]
