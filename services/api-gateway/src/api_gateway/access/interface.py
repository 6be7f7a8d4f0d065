"""What access control is about: records that a request needs, controllers that decide, grants they give.

The descriptor table says for each route and method which records it needs; the router asks the controller
before the endpoint runs, so an endpoint decides about access only where a record is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from api_gateway.refusal import RefusalError
from moorage.errors import ErrorCode

if TYPE_CHECKING:
    from api_gateway.request import Request

REPOSITORY = "repository"

# The class of a repository that a grant names without one. Source: distribution's token specification, where
# a class is optional.
_DEFAULT_CLASS = "image"

CATALOG_LIST = "list"
"""The action on `registry:catalog` of who sees a part of the catalog: less than `*`."""

PUSH_CREATE = "create"
"""The action on a repository of who may push new tags, and move none: less than `push`."""

# What lets a request in, too, which then does less: the endpoint asks the grant.
_LESSER = {(REPOSITORY, "push"): PUSH_CREATE, ("registry", "*"): CATALOG_LIST}


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """One action on one resource: `repository:<name>:pull`, `registry:catalog:*`."""

    type: str
    name: str
    action: str

    optional: bool = False
    """A challenge asks for it, but what is granted without it goes on: the endpoint asks the grant."""

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{self.action}"


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource, and the actions on it that were granted."""

    type: str
    name: str
    actions: frozenset[str]
    class_name: str = ""
    """The class of a repository, "image" or "plugin"; mostly none is named."""


@dataclass(frozen=True, slots=True)
class Grant:
    """To whom something was granted, and what; `user` is "" for nobody in particular."""

    user: str = ""

    resources: tuple[Resource, ...] | None = None
    """All that the caller was given, also beyond what the request needs; None for everything."""

    def allows(self, record: AccessRecord) -> bool:
        """Whether the record is granted. Names and actions count as they are written; "*" is no wildcard.

        Two actions count for a greater one, and the endpoint then does less: `create` for `push`, `list` for
        `*` on the catalog.
        """
        if self.holds(record.type, record.name, record.action):
            return True
        lesser = _LESSER.get((record.type, record.action))
        return lesser is not None and self.holds(record.type, record.name, lesser)

    def holds(self, type_: str, name: str, action: str) -> bool:
        """Whether this very action was granted."""
        return self.resources is None or any(
            resource.type == type_ and resource.name == name and action in resource.actions
            for resource in self.resources
        )

    def creates_only(self, repository: str) -> bool:
        """Whether a push may set new tags of the repository, and move none."""
        return not self.holds(REPOSITORY, repository, "push")

    def class_of(self, repository: str) -> str:
        """The class of manifests that may be pushed to a repository; "" for any."""
        if self.resources is None:
            return ""
        for resource in self.resources:
            if (
                resource.type == REPOSITORY
                and resource.name == repository
                and not resource.actions.isdisjoint(("push", PUSH_CREATE))
            ):
                return resource.class_name or _DEFAULT_CLASS
        return _DEFAULT_CLASS


class ChallengeError(RefusalError):
    """401 UNAUTHORIZED with a `WWW-Authenticate` that says how to come in.

    `reason` is for the log, and holds nothing that was sent as a secret; "" when no credentials came.
    """

    def __init__(self, challenge: str, records: Sequence[AccessRecord], reason: str = "") -> None:
        """`challenge` is the field's value, without control characters."""
        super().__init__(ErrorCode.UNAUTHORIZED, _detail(records))
        self.headers = [(b"www-authenticate", challenge.encode())]
        self.reason = reason


class AccessController(Protocol):
    """Decides about access."""

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """Grant all of the records that are not optional to whoever sent this request, or none.

        No records ask for authentication alone. Raises ChallengeError, and RegistryError for other refusals.
        """
        ...


def _detail(records: Sequence[AccessRecord]) -> list[dict[str, str]] | None:
    """What was asked for, under the names that distribution's envelope has."""
    return [
        {"Type": record.type, "Class": "", "Name": record.name, "Action": record.action} for record in records
    ] or None
