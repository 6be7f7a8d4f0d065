"""A profile of the event loop's thread, by pyinstrument: where its time goes, by samples of its stack.

The threads beside it are not in it: their Python is short, and the rest of what they do (hashing, reading,
writing) is no Python. What stands still in the loop's own wait is left out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pyinstrument import Profiler
from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer

from moorage.inspection.pprof import Frame, ProfileWriter

# Seconds between samples.
_INTERVAL = 0.001


async def profile(seconds: float, form: str) -> tuple[str, bytes]:
    """Look for so many seconds; the content type and the profile: `pprof`, `speedscope`, `html` or `text`."""
    profiler = Profiler(interval=_INTERVAL, async_mode="disabled")
    profiler.start()
    try:
        await asyncio.sleep(seconds)
    finally:
        session = profiler.stop()
    match form:
        case "speedscope":
            return "application/json", SpeedscopeRenderer().render(session).encode()
        case "html":
            return "text/html; charset=utf-8", HTMLRenderer().render(session).encode()
        case "text":
            text = profiler.output_text(unicode=False, color=False, show_all=True)
            return "text/plain; charset=utf-8", text.encode()
        case _:
            return "application/octet-stream", await asyncio.to_thread(_pprof, session, seconds)


def _pprof(session: Any, seconds: float) -> bytes:
    writer = ProfileWriter(
        [("samples", "count"), ("wall", "nanoseconds")], seconds=seconds, period=int(_INTERVAL * 1e9)
    )
    for stack, spent in session.frame_records:
        frames = [_frame(text) for text in reversed(stack)]
        writer.add(frames, (1, int(spent * 1e9)))
    return writer.written()


def _frame(text: str) -> Frame:
    """A frame in pyinstrument's notation: name, file and first line, then attributes, such as the line."""
    identity, _, attributes = text.partition("\x01")
    name, file, first, *_ = [*identity.split("\x00"), "", "0"]
    line = next((each[1:] for each in attributes.split("\x01") if each[:1] == "l"), first)
    return Frame(name, file, _number(first), _number(line))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
