"""Unframing a body: RFC 9112, sections 6.2 and 7.1."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blob_service.channel.chunked import Chunked
from blob_service.channel.framing import Counted, Framing


class Outcome:
    """What came of a stream that was unframed in pieces."""

    def __init__(self, framing: Framing, pieces: list[bytes], before: int = 0) -> None:
        self.body = b""
        self.behind = b""
        self.error = None
        for number, piece in enumerate(pieces):
            # A block that is half full: nothing before `start` may change.
            buffer = bytearray(b"#" * before + piece)
            unframed = framing.unframe(buffer, before, len(buffer))
            assert buffer[:before] == b"#" * before
            assert before <= unframed.end <= len(buffer) - len(unframed.behind)
            self.body += buffer[before : unframed.end]
            self.error = unframed.error
            if self.error is not None:
                return
            if framing.ended:
                self.behind = unframed.behind + b"".join(pieces[number + 1 :])
                return
            assert not unframed.behind


class Received:
    """What came of a stream that was received as the framing expects it, so many bytes at a time."""

    def __init__(self, framing: Framing, stream: bytes, reads: list[int], room: int) -> None:
        self.body = b""
        self.behind = stream
        self.error = None
        # The places of each read.
        self.places: list[int] = []
        for most in cycle(reads):
            # A block that is half full: nothing before `start` may change.
            buffer = bytearray(b"#" * (7 + room))
            expected = framing.expect(buffer, 7, len(buffer))
            assert 1 <= sum(map(len, expected.places)) <= room
            count = _fill(expected.places, self.behind[:most])
            self.places.append(len(expected.places))
            unframed = expected.unframe(count)
            assert buffer[:7] == b"#" * 7
            self.body += buffer[7 : unframed.end]
            self.behind = unframed.behind + self.behind[count:]
            self.error = unframed.error
            if framing.ended or self.error or not self.behind:
                return


def _fill(places: Sequence[memoryview], content: bytes) -> int:
    """Write into places one after the other, as recvmsg(2) does; how many bytes that were."""
    count = 0
    for place in places:
        piece = content[count : count + len(place)]
        place[: len(piece)] = piece
        count += len(piece)
    return count


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({each % (len(stream) + 1) for each in cuts}), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges) if start < end]


# Any text that a chunk extension or a trailer's value may have.
_TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.encode)
_EXTENSION = st.one_of(st.just(b""), _TEXT.map(lambda text: b" ;" + text))


@st.composite
def chunked_streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    chunks = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=6))
    stream = b""
    for chunk in chunks:
        digits = draw(st.sampled_from([b"%x", b"%X", b"000%x"])) % len(chunk)
        stream += digits + draw(_EXTENSION) + b"\r\n" + chunk + b"\r\n"
    stream += draw(st.sampled_from([b"0", b"0000"])) + draw(_EXTENSION) + b"\r\n"
    for name in draw(st.lists(st.sampled_from([b"Digest", b"x-y"]), max_size=3)):
        stream += name + b":" + draw(_TEXT) + b"\r\n"
    return stream + b"\r\n", b"".join(chunks)


@given(
    chunked_streams(), st.lists(st.integers(0, 1000), max_size=12), st.binary(max_size=40), st.integers(0, 9)
)
def test_a_chunked_body_is_the_same_however_it_is_cut(
    streams: tuple[bytes, bytes], cuts: list[int], behind: bytes, before: int
) -> None:
    stream, body = streams
    framing = Chunked()
    outcome = Outcome(framing, cut(stream + behind, cuts), before)
    assert framing.ended
    assert outcome.error is None
    assert (outcome.body, outcome.behind) == (body, behind)


@given(chunked_streams(), st.lists(st.integers(0, 1000), max_size=4), st.data())
def test_a_corrupted_stream_never_yields_more_than_was_sent(
    streams: tuple[bytes, bytes], cuts: list[int], data: st.DataObject
) -> None:
    stream, _ = streams
    at = data.draw(st.integers(0, len(stream) - 1))
    corrupted = data.draw(
        st.sampled_from(
            [
                stream[:at] + stream[at + 1 :],
                stream[:at] + data.draw(st.binary(min_size=1, max_size=3)) + stream[at:],
                stream[:at] + bytes([stream[at] ^ data.draw(st.integers(1, 255))]) + stream[at + 1 :],
                stream[:at],
            ]
        )
    )
    whole, cut_up = Chunked(), Chunked()
    at_once = Outcome(whole, [corrupted] if corrupted else [])
    in_pieces = Outcome(cut_up, cut(corrupted, cuts))
    assert len(in_pieces.body) <= len(corrupted)
    # What it is taken for does not depend on how it came.
    assert in_pieces.body == at_once.body
    assert whole.ended == cut_up.ended
    assert (at_once.error is None) == (in_pieces.error is None)


_CONTENT = random.Random(1).randbytes(8192)


@st.composite
def regular_streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Runs of chunks of one size each, as clients send them, and now and then another one."""
    stream, body = b"", b""
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.sampled_from([2048, 2049, 4096, 5000, 2000, 1]))
        line = draw(st.sampled_from([b"%x", b"%X", b"00%x", b"%x;an=extension"])) % size
        for number in range(draw(st.integers(1, 30))):
            chunk = _CONTENT[number : number + size]
            stream += line + b"\r\n" + chunk + b"\r\n"
            body += chunk
    return stream + b"0\r\n\r\n", body


_READS = st.lists(st.integers(1, 60_000), min_size=1, max_size=6)
_ROOM = st.integers(1000, 40_000)


@given(regular_streams(), _READS, _ROOM, st.binary(max_size=3000))
def test_a_regular_body_is_the_same_however_it_is_received(
    streams: tuple[bytes, bytes], reads: list[int], room: int, behind: bytes
) -> None:
    stream, body = streams
    framing = Chunked()
    outcome = Received(framing, stream + behind, reads, room)
    assert framing.ended
    assert outcome.error is None
    assert (outcome.body, outcome.behind) == (body, behind)


@given(regular_streams(), _READS, _ROOM, st.data())
def test_a_corrupted_regular_stream_is_taken_for_the_same_however_it_is_received(
    streams: tuple[bytes, bytes], reads: list[int], room: int, data: st.DataObject
) -> None:
    stream, _ = streams
    # Mostly near where a chunk begins.
    begin = data.draw(st.sampled_from([match.start() for match in re.finditer(rb"\r\n", stream)]))
    at = max(0, min(begin + data.draw(st.integers(-8, 8)), len(stream) - 1))
    corrupted = stream[:at] + data.draw(st.binary(max_size=3)) + stream[at + 1 :]
    whole, received = Chunked(), Chunked()
    at_once = Outcome(whole, [corrupted])
    outcome = Received(received, corrupted, reads, room)
    assert outcome.body == at_once.body
    assert whole.ended == received.ended
    assert (outcome.error is None) == (at_once.error is None)


@pytest.fixture
def regular() -> tuple[bytes, bytes]:
    """A stream of 400 chunks of 4 KiB, and the body that it is."""
    chunks = [random.Random(number).randbytes(4096) for number in range(400)]
    stream = b"".join(b"1000\r\n" + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"
    return stream, b"".join(chunks)


def test_what_stands_between_chunks_of_one_size_is_received_apart_from_them(
    regular: tuple[bytes, bytes],
) -> None:
    stream, body = regular
    outcome = Received(Chunked(), stream, [100_000], 1 << 20)
    assert outcome.body == body
    # The first read shows that there is one size; then more chunks are expected the more come at once.
    assert outcome.places[0] == 1
    assert min(outcome.places[1:]) >= 3
    assert min(outcome.places[4:]) > 2 * 100_000 // 4100


def test_a_slow_client_s_chunks_are_expected_a_few_at_a_time(regular: tuple[bytes, bytes]) -> None:
    stream, body = regular
    outcome = Received(Chunked(), stream, [100_000] * 5 + [3000] * 1000, 1 << 20)
    assert outcome.body == body
    assert max(outcome.places[3:6]) > 40
    assert max(outcome.places[15:]) < 10


@given(chunked_streams(), st.integers(1, 1000))
def test_a_body_that_is_cut_off_has_not_ended(streams: tuple[bytes, bytes], missing: int) -> None:
    stream, body = streams
    framing = Chunked()
    outcome = Outcome(framing, cut(stream[:-missing], []))
    assert not framing.ended
    assert outcome.error is None
    assert body.startswith(outcome.body)


@given(st.binary(max_size=100), st.binary(max_size=40), st.lists(st.integers(0, 1000), max_size=12))
def test_a_counted_body_is_its_length_and_not_a_byte_more(
    body: bytes, behind: bytes, cuts: list[int]
) -> None:
    framing = Counted(len(body))
    assert framing.wanted(1000) == len(body)
    pieces = cut(body + behind, cuts)
    outcome = Outcome(framing, pieces if body else [])
    assert framing.ended
    assert framing.wanted(1000) == 0
    assert outcome.body == body
    if body:
        assert outcome.behind == behind


@pytest.mark.parametrize(
    "stream",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b";ext\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0\r\nno field\r\n\r\n",
        b"0\r\n: no name\r\n\r\n",
        b"0\r\n folded: line\r\n\r\n",
        b"0\r\n\n",
    ],
)
def test_what_is_no_chunked_framing_is_refused(stream: bytes) -> None:
    framing = Chunked()
    outcome = Outcome(framing, [stream])
    assert not framing.ended
    assert outcome.error is not None
    assert outcome.error.http_status == 400
    assert outcome.error.code.name == "UNSUPPORTED"
    assert outcome.body in (b"", b"hello", b"hell")


@pytest.mark.parametrize(
    "stream",
    [
        b"5;" + b"x" * 5000 + b"\r\nhello\r\n",
        b"5;" + b"x" * 5000,
        b"0" * 5000,
        b"0\r\n" + b"name: " + b"x" * 17000 + b"\r\n\r\n",
        b"0\r\n" + b"name: value\r\n" * 2000,
    ],
)
def test_lines_without_end_are_refused_before_they_are_held(stream: bytes) -> None:
    for size in (len(stream), 100):
        framing = Chunked()
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        outcome = Outcome(framing, pieces)
        assert outcome.error is not None
        assert len(framing._line) <= 17000


def test_the_largest_size_that_fits_16_digits_is_taken() -> None:
    framing = Chunked()
    outcome = Outcome(framing, [b"ffffffffffffffff\r\n" + b"x" * 1000])
    assert outcome.error is None
    assert outcome.body == b"x" * 1000
    assert not framing.ended
