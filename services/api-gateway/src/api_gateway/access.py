"""Who may do what: the records that a request needs, and the controller that grants them.

The descriptor table says for each route and method which records it needs; the router asks the controller
before the endpoint runs, so an endpoint never decides about access.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from api_gateway.request import Request


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """One action on one resource: `repository:<name>:pull`, `registry:catalog:*`."""

    type: str
    name: str
    action: str

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{self.action}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a controller granted, and to whom; `user` is "" for nobody in particular."""

    user: str = ""
    # The class that the grant names for a repository ("image", "plugin"); most grants name none.
    classes: dict[str, str] = field(default_factory=dict)

    def class_of(self, repository: str) -> str:
        """The class that the grant names for a repository; "" for none."""
        return self.classes.get(repository, "")


class AccessController(Protocol):
    """Decides about access."""

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """Grant all of the records to whoever sent this request, or none.

        No records ask for authentication alone. Raises RegistryError: UNAUTHORIZED for a challenge, DENIED.
        """
        ...


class Open:
    """The controller of a registry without an `auth` section: everybody may do everything."""

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """Grant everything."""
        return Grant()
