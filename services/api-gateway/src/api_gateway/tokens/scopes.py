"""Scopes: what a client asks of a token service, and what its token then says.

Source: distribution, "Token scope documentation" and "Token authentication specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from api_gateway.access.interface import REPOSITORY
from moorage.reference import InvalidReferenceError, parse_name

REGISTRY = "registry"
CATALOG = "catalog"

# Scopes of one request, and characters of one scope. A push that mounts from several repositories has a few.
MOST_SCOPES = 64
MOST_CHARACTERS = 1024

_QUOTED = 120

_TYPE = re.compile(r"(?P<type>[a-z0-9]+)(?:\((?P<class>[a-z0-9]+)\))?", re.ASCII)
_ACTION = re.compile(r"[a-z]+|\*", re.ASCII)


class InvalidScopeError(ValueError):
    """The text is not a scope."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Actions on one resource. `resource_class` is "" for none."""

    type: str
    name: str
    actions: tuple[str, ...]
    resource_class: str = ""

    def __str__(self) -> str:
        kind = f"{self.type}({self.resource_class})" if self.resource_class else self.type
        return f"{kind}:{self.name}:{','.join(self.actions)}"

    def as_claim(self) -> dict[str, Any]:
        """The scope as it stands in a token's `access`."""
        claim: dict[str, Any] = {"type": self.type, "name": self.name, "actions": list(self.actions)}
        if self.resource_class:
            claim["class"] = self.resource_class
        return claim


def parse_scope(text: str) -> Scope:
    """One scope, `type[(class)]:name:action[,action...]`; raises InvalidScopeError.

    A type that this registry does not know is no error: nobody has rights to it.
    """
    shown = repr(text[:_QUOTED])
    if len(text) > MOST_CHARACTERS:
        raise InvalidScopeError(f"the scope is longer than {MOST_CHARACTERS} characters: {shown}")
    kind, first, rest = text.partition(":")
    name, second, listed = rest.rpartition(":")
    if not first or not second:
        raise InvalidScopeError(f"not of the form type:name:actions: {shown}")
    match = _TYPE.fullmatch(kind)
    if match is None:
        raise InvalidScopeError(f"not a resource type: {shown}")
    if not name:
        raise InvalidScopeError(f"the scope names no resource: {shown}")
    if match["type"] == REPOSITORY:
        try:
            parse_name(name)
        except InvalidReferenceError as error:
            raise InvalidScopeError(f"not a repository's name: {shown}") from error
    actions = tuple(dict.fromkeys(listed.split(",")))
    if not all(_ACTION.fullmatch(action) for action in actions):
        raise InvalidScopeError(f"not actions, or none: {shown}")
    return Scope(match["type"], name, actions, match["class"] or "")


def parse_scopes(parameters: Iterable[str]) -> list[Scope]:
    """The scopes of a request, those on one resource as one.

    A parameter holds one scope, or several with spaces between. Raises InvalidScopeError, also for too many.
    """
    texts = [text for parameter in parameters for text in parameter.split(" ") if text]
    if len(texts) > MOST_SCOPES:
        raise InvalidScopeError(f"more than {MOST_SCOPES} scopes")
    merged: dict[tuple[str, str, str], dict[str, None]] = {}
    for scope in map(parse_scope, texts):
        actions = merged.setdefault((scope.type, scope.name, scope.resource_class), {})
        actions.update(dict.fromkeys(scope.actions))
    return [
        Scope(kind, name, tuple(actions), resource_class)
        for (kind, name, resource_class), actions in merged.items()
    ]
