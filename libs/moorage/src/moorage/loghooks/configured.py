"""From `log.hooks` to hooks."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.config.log import Hook
from moorage.loghooks.interface import LogHook


def configured_hooks(hooks: Iterable[Hook]) -> list[LogHook]:
    """The hooks that are not disabled. Raises ConfigurationError when a file of one cannot be used."""
    enabled = [(position, hook) for position, hook in enumerate(hooks) if not hook.disabled]
    if not enabled:
        return []
    # Only here: most registries send no mail.
    from moorage.loghooks.mail import MailHook

    return [
        MailHook(hook.options, hook.fired_by, key=f"log.hooks[{position}].options")
        for position, hook in enabled
    ]
