"""What is allocated while somebody looks, and not freed, by tracemalloc.

Python does not keep who allocated what. So tracing begins with the question and ends with the answer; what
was there before is not in it. While it lasts, each allocation costs about three times as much.
"""

from __future__ import annotations

import asyncio
import tracemalloc

from moorage.inspection.pprof import Frame, ProfileWriter

# Frames that are kept of each allocation.
_FRAMES = 16

# Lines of the text form.
_LINES = 50


async def profile(seconds: float, form: str) -> tuple[str, bytes]:
    """Look for so many seconds; the content type and what is left then, as `pprof` or `text`."""
    tracemalloc.start(_FRAMES)
    try:
        await asyncio.sleep(seconds)
        snapshot = await asyncio.to_thread(tracemalloc.take_snapshot)
    finally:
        tracemalloc.stop()
    own = tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__)
    snapshot = snapshot.filter_traces([own])
    if form == "text":
        return "text/plain; charset=utf-8", (await asyncio.to_thread(_text, snapshot, seconds)).encode()
    return "application/octet-stream", await asyncio.to_thread(_pprof, snapshot, seconds)


def _text(snapshot: tracemalloc.Snapshot, seconds: float) -> str:
    statistics = snapshot.statistics("lineno")
    total = sum(each.size for each in statistics)
    lines = [f"{total} bytes in {len(snapshot.traces)} blocks allocated in {seconds:g} s and not freed", ""]
    lines += [
        f"{each.size:>12} bytes {each.count:>8} blocks  {each.traceback[0]}" for each in statistics[:_LINES]
    ]
    return "\n".join(lines) + "\n"


def _pprof(snapshot: tracemalloc.Snapshot, seconds: float) -> bytes:
    writer = ProfileWriter([("inuse_objects", "count"), ("inuse_space", "bytes")], seconds=seconds)
    for each in snapshot.statistics("traceback"):
        # tracemalloc has the oldest frame first, and knows no function's name.
        frames = [
            Frame(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}", frame.filename, 0, frame.lineno)
            for frame in reversed(each.traceback)
        ]
        writer.add(frames, (each.count, each.size))
    return writer.written()
