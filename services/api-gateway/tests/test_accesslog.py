"""The access log."""

from __future__ import annotations

import asyncio
import io
import re
import threading

from hypothesis import given
from hypothesis import strategies as st

from api_gateway.accesslog import AccessLog, combined_line, escaped
from api_gateway.record import RequestRecord

# Apache's combined format; quotes inside a quoted field are escaped.
COMBINED = re.compile(
    r'(\S+) - (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
)


def scope(path: bytes = b"/v2/", query: bytes = b"", **headers: bytes) -> dict[str, object]:
    return {
        "method": "GET",
        "raw_path": path,
        "query_string": query,
        "http_version": "1.1",
        "headers": [(name.replace("_", "-").encode(), value) for name, value in headers.items()],
    }


def record(**fields: object) -> RequestRecord:
    return RequestRecord(peer="10.0.0.1", client="192.0.2.7", status=200, written=2, **fields)


def test_a_line_is_apaches_combined_format() -> None:
    line = combined_line(
        record(user="ann"),
        scope(query=b"n=1", referer=b"http://r/", user_agent=b"docker/20.10"),
        at=1_000_000_000,
    )
    assert line == (
        "192.0.2.7 - ann [09/Sep/2001:01:46:40 +0000] "
        '"GET /v2/?n=1 HTTP/1.1" 200 2 "http://r/" "docker/20.10"'
    )


def test_an_uploads_state_does_not_stand_in_the_log() -> None:
    line = combined_line(record(), scope(query=b"a=1&_state=secret-%3D&digest=x"), at=0)
    assert '"GET /v2/?a=1&_state=...&digest=x HTTP/1.1"' in line


@given(st.binary(), st.text())
def test_nothing_that_a_client_sends_breaks_out_of_its_field(value: bytes, user: str) -> None:
    line = combined_line(record(user=user), scope(referer=value, user_agent=value), at=0)
    assert line.isascii()
    assert line.isprintable()
    match = COMBINED.fullmatch(line)
    assert match is not None
    assert match[7] == match[8] == escaped(value.decode("latin-1"))


async def test_lines_are_written_in_order_and_whole() -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    for number in range(500):
        log.add(f"line {number}")
        if number % 100 == 0:
            await asyncio.sleep(0.01)
    await log.close()
    assert stream.getvalue() == "".join(f"line {number}\n" for number in range(500))


async def test_a_reader_that_stands_still_stops_neither_the_loop_nor_the_process() -> None:
    class StuckStream(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.reading = threading.Event()

        def write(self, text: str) -> int:
            assert self.reading.wait(10)
            return super().write(text)

    stream = StuckStream()
    log = AccessLog(stream)
    log.add("first")
    await asyncio.sleep(0.1)
    for _ in range(100_000):
        log.add("more")
    stream.reading.set()
    await log.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "first"
    assert 1 < len(lines) < 100_000


async def test_lines_are_written_in_pieces_that_no_other_writer_of_a_pipe_comes_between() -> None:
    written: list[str] = []

    class Pieces(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    log = AccessLog(Pieces())
    lines = [f"{number} " + "x" * (number * 37 % 1000) for number in range(100)]
    longest = "y" * 5000
    for line in [*lines[:50], longest, *lines[50:]]:
        log.add(line)
    await log.close()
    assert "".join(written).splitlines() == [*lines[:50], longest, *lines[50:]]
    assert all(piece.endswith("\n") for piece in written)
    assert sorted(len(piece) > 4096 for piece in written) == [*[False] * (len(written) - 1), True]
    assert len(written) < 30
