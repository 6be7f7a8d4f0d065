"""The clock for deadlines that other processes rely on."""

from __future__ import annotations

import time


def boot_seconds() -> float:
    """Seconds that never run backwards, and go on while the machine is suspended (CLOCK_BOOTTIME).

    So a lease or a ticket runs out while a laptop sleeps.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
