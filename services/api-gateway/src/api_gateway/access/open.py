"""No access control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from api_gateway.access.interface import AccessRecord, Grant

if TYPE_CHECKING:
    from api_gateway.request import Request

_EVERYTHING = Grant()


class Open:
    """The controller of a registry without an `auth` section: everybody may do everything."""

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """Grant everything."""
        return _EVERYTHING
