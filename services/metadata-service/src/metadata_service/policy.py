"""Whether the registry's configuration lets state change: asked once by every verb that changes it."""

from __future__ import annotations

from enum import Enum

from moorage.config import Configuration
from moorage.errors import ErrorCode, RegistryError


class Verb(Enum):
    """What a call does to the registry's state."""

    ADD = "add"
    DELETE = "delete"


class Policy:
    """`storage.maintenance.readonly.enabled` and `storage.delete.enabled`."""

    def __init__(self, config: Configuration) -> None:
        self._read_only = config.storage.maintenance.readonly.enabled
        self._delete_enabled = config.storage.delete.enabled

    def require(self, verb: Verb) -> None:
        """Raise RegistryError (UNSUPPORTED) when the configuration forbids the verb."""
        if self._read_only:
            raise RegistryError(ErrorCode.UNSUPPORTED, {"reason": "the registry is read-only"})
        if verb is Verb.DELETE and not self._delete_enabled:
            raise RegistryError(ErrorCode.UNSUPPORTED, {"reason": "deletion is disabled"})
