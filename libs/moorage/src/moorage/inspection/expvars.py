"""`/debug/vars` in the shape of Go's expvar: `cmdline`, `memstats`, and `registry` with what is published.

Source: Go's package expvar; distribution's `registry` variable.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moorage import build

_started = time.time()

_published: dict[str, Callable[[], object]] = {}

# An option whose value is nobody's business, however it is spelt.
_SECRET_WORDS = ("password", "secret", "token", "credential", "apikey")


def publish(name: str, function: Callable[[], object]) -> None:
    """Show what `function` returns as `registry.<name>`: JSON values, without secrets."""
    _published[name] = function


@contextmanager
def published(name: str, function: Callable[[], object]) -> Iterator[None]:
    """The same while the context is open: for a function of something that ends."""
    publish(name, function)
    try:
        yield
    finally:
        # Another one may have taken the name since.
        if _published.get(name) is function:
            del _published[name]


def variables() -> dict[str, object]:
    """All variables of this process."""
    return {
        "cmdline": cmdline(),
        "memstats": memstats(),
        "process": {
            "pid": os.getpid(),
            "uptime": round(time.time() - _started, 3),
            "threads": threading.active_count(),
            **build.facts(),
        },
        "registry": {name: function() for name, function in sorted(_published.items())},
    }


def cmdline() -> list[str]:
    """The command line of this process. Secrets do not belong there; what looks like one is not shown."""
    shown: list[str] = []
    hide = False
    for argument in sys.orig_argv:
        option, equals, _ = argument.partition("=")
        is_secret = option.startswith("-") and any(word in option.lower() for word in _SECRET_WORDS)
        shown.append("***" if hide else f"{option}=***" if is_secret and equals else argument)
        hide = is_secret and not equals
    return shown


def memstats() -> dict[str, object]:
    """What Python and the kernel know of this process' memory, in bytes."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resident, virtual = _pages()
    generations = gc.get_stats()
    return {
        "Sys": virtual,
        "Resident": resident,
        "PeakResident": usage.ru_maxrss * 1024,
        "Objects": sum(gc.get_count()),
        "NumGC": sum(generation["collections"] for generation in generations),
        "GCCollected": sum(generation["collected"] for generation in generations),
        "GCUncollectable": sum(generation["uncollectable"] for generation in generations),
        "UserSeconds": usage.ru_utime,
        "SystemSeconds": usage.ru_stime,
        "MinorFaults": usage.ru_minflt,
        "MajorFaults": usage.ru_majflt,
    }


def _pages() -> tuple[int, int]:
    """Resident and virtual size in bytes; zeros where there is no /proc."""
    try:
        virtual, resident, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0, 0
    size = resource.getpagesize()
    return int(resident) * size, int(virtual) * size
