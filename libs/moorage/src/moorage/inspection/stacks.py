"""Where everything is right now: the stacks of all asyncio tasks, and of all threads."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import traceback

# Frames of one task or thread, at most.
_DEEPEST = 60


def tasks() -> str:
    """The tasks of the running event loop with their stacks, those with the same stack together."""
    groups: dict[str, list[str]] = {}
    everyone = asyncio.all_tasks()
    for task in everyone:
        written = io.StringIO()
        task.print_stack(limit=_DEEPEST, file=written)
        # Its first line names the task; what follows is where it stands.
        _, _, stack = written.getvalue().partition("\n")
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
