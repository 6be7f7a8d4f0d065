"""A process that ends when its parent ends, so that nothing outlives a supervisor that was killed.

As a script, `parent_death.py PARENT COMMAND...`, it arranges that and becomes the command: for programs that
cannot arrange it themselves. So it imports the standard library only.

Source: prctl(2), PR_SET_PDEATHSIG: kept across exec; sent when the thread that made the process ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# A supervisor tells its children its process id here; 1 stands for a parent that is not checked.
SUPERVISED = "MOORAGE_SUPERVISED"

# It stands in the environment of a worker: one of several processes that are one service. Without its parent
# it is nothing, and what became of the parent becomes of it.
WORKER = "MOORAGE_WORKER"

_PR_SET_PDEATHSIG = 1


class ParentGoneError(Exception):
    """The parent ended before this process could ask to end with it."""


def end_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask for a signal when the parent ends; `parent` is its process id.

    Where the system has no such request, nothing is asked. Raises ParentGoneError when the parent has ended
    already, and OSError when the system refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if parent > 1 and os.getppid() != parent:
        raise ParentGoneError(f"the parent, process {parent}, has ended")


def end_with_supervisor() -> None:
    """`end_with_parent` when a supervisor said that it is one; raises what that does."""
    parent = os.environ.get(SUPERVISED, "")
    if parent.isascii() and parent.isdigit():
        end_with_parent(int(parent), signal.SIGKILL if WORKER in os.environ else signal.SIGTERM)


def _main(arguments: list[str]) -> None:
    parent, command, *rest = arguments
    end_with_parent(int(parent))
    os.execv(command, [command, *rest])  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    _main(sys.argv[1:])
