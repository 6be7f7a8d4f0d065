"""What is told of log lines beside standard error: `log.hooks`.

A hook gets each line of its levels as a map, in the thread that writes the line. It must not block there, and
must not raise.
"""

from moorage.loghooks.configured import configured_hooks
from moorage.loghooks.interface import HOOK_KEY, LogHook

__all__ = ["HOOK_KEY", "LogHook", "configured_hooks"]
