"""`auth.silly`: whoever sends credentials comes in, whatever they are. For tests of clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from api_gateway.access.challenge import challenge
from api_gateway.access.interface import AccessRecord, ChallengeError, Grant
from moorage.config.auth import Silly

if TYPE_CHECKING:
    from api_gateway.request import Request


class SillyController:
    """Grants everything to whoever sends an Authorization field that is not empty."""

    def __init__(self, config: Silly) -> None:
        self._config = config
        self._grant = Grant("silly")

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """Grant everything, or raise ChallengeError. See `AccessController`."""
        if request.headers.get(b"authorization"):
            return self._grant
        # One word for each action, as distribution has it here.
        scope = " ".join(str(record) for record in records)
        text = challenge("Bearer", realm=self._config.realm, service=self._config.service, scope=scope)
        raise ChallengeError(text, records)
