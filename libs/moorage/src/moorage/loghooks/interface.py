"""What a log hook is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

# A line with this key is about a hook's own trouble, and told to no hook.
HOOK_KEY = "log.hook"


class LogHook(Protocol):
    """Is told of log lines. Any thread may call it."""

    def take(self, event: Mapping[str, Any]) -> None:
        """Take note of one line: its fields, with `time`, `level` and `event` (the text) among them."""
        ...

    def close(self, seconds: float) -> None:
        """Deliver what is still to be delivered, for so many seconds at most, and take no more."""
        ...
