"""Where everything is right now: the stacks of all asyncio tasks, and of all threads."""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Frames of one task or thread, at most.
_DEEPEST = 60


def tasks() -> str:
    """The tasks of the running event loop with their stacks, those with the same stack together.

    A stack goes from the task's coroutine down to what it awaits.
    """
    groups: dict[str, list[str]] = {}
    everyone = asyncio.all_tasks()
    for task in everyone:
        stack = "".join(_line(frame) for frame in _awaited(task.get_coro()))
        groups.setdefault(stack, []).append(task.get_name())
    parts = [f"{len(everyone)} tasks\n"]
    for stack, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        shown = ", ".join(sorted(names)[:10]) + (", ..." if len(names) > 10 else "")
        parts.append(f"{len(names)} x {shown}\n{stack or '  (no frame)'}")
    return "\n".join(parts)


def threads() -> str:
    """All threads of this process with their stacks."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    parts = [f"{len(frames)} threads\n"]
    for identity, frame in frames.items():
        stack = "".join(traceback.format_stack(frame, limit=_DEEPEST))
        parts.append(f"{names.get(identity, 'unknown to Python')} ({identity})\n{stack}")
    return "\n".join(parts)


def _awaited(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a coroutine, a generator or an asynchronous generator, and of what each waits for."""
    for _ in range(_DEEPEST):
        for kind, waits_for in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaitable = getattr(awaitable, waits_for, None)
                break
        else:
            return


def _line(frame: FrameType) -> str:
    """A frame as tracebacks have it. Compiled coroutines (gRPC's) have frames without a line."""
    code = frame.f_code
    number: int | None = frame.f_lineno
    source = linecache.getline(code.co_filename, number, frame.f_globals).strip() if number else ""
    shown = f"    {source}\n" if source else ""
    return f'  File "{code.co_filename}", line {number or "?"}, in {code.co_qualname}\n{shown}'
