"""Which process has something, written down so that others on its host can tell whether it has died.

Only who shares the kernel and the namespace of process ids can tell; to others nobody is known to be dead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_DEAD_STATES = "ZXx"


@dataclass(frozen=True, slots=True)
class Holder:
    """One process of one boot of one host."""

    boot: str
    namespace: int
    pid: int
    # Clock ticks from the boot to its start: another process with the same id has another one.
    started: int

    @classmethod
    def this_process(cls) -> Holder | None:
        """The process that asks; None where there is no /proc to say so."""
        try:
            boot = _BOOT_ID.read_text().strip().replace("-", "")
            namespace = _NAMESPACE.stat().st_ino
        except OSError:
            return None
        found = _state_and_start(os.getpid())
        return None if found is None else cls(boot, namespace, os.getpid(), found[1])

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """What `str` of a holder gave; None for anything else."""
        try:
            boot, namespace, pid, started = text.split("-")
            return cls(boot, int(namespace), int(pid), int(started))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.boot}-{self.namespace}-{self.pid}-{self.started}"

    def is_known_to_be_dead(self) -> bool:
        """Whether this process can see that the holder has ended."""
        here = Holder.this_process()
        if here is None or (here.boot, here.namespace) != (self.boot, self.namespace):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            # Somebody else's, so it is there.
            return False
        found = _state_and_start(self.pid)
        return found is not None and (found[0] in _DEAD_STATES or found[1] != self.started)


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """State and start of a process, from proc(5); None when it is gone."""
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])
