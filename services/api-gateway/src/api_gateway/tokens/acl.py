"""The access list: who may do what to which repositories (`auth.token.server.groups` and `.rules`).

Rules add up. What a caller may do is what the rules that name it give, all together: the order of rules means
nothing, and no rule takes away what another one gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from api_gateway.access.interface import CATALOG_LIST, PUSH_CREATE, REPOSITORY
from api_gateway.tokens.scopes import CATALOG, REGISTRY, Scope
from moorage.config.tokenserver import ANONYMOUS, AUTHENTICATED, USER_PLACEHOLDER, Rule
from moorage.globs import EVERYTHING, matches
from moorage.reference import InvalidReferenceError, parse_name

PULL, PUSH, DELETE = "pull", "push", "delete"
ANY = "*"

# What `*` stands for when it is asked of a repository.
_ALL = (PULL, PUSH, DELETE)


class AccessList:
    """The rules. A user of "" is somebody who did not log in."""

    def __init__(self, rules: Sequence[Rule], groups: Mapping[str, Iterable[str]]) -> None:
        self._rules = tuple(rules)
        self._groups = {name: frozenset(members) for name, members in groups.items()}

    @property
    def admits_anonymous(self) -> bool:
        """Whether any rule is about people who did not log in."""
        return any(ANONYMOUS in rule.subjects for rule in self._rules)

    def actions(self, user: str, repository: str) -> frozenset[str]:
        """What the user may do to the repository, in the words of the rules."""
        found: set[str] = set()
        for rule in self._rules_for(user):
            if any(matches(glob, repository) for glob in _globs(rule, user)):
                found.update(rule.actions)
        return frozenset(found)

    def listed(self, user: str) -> tuple[str, ...]:
        """The globs of the repositories that the user finds in the catalog."""
        globs = [
            glob for rule in self._rules_for(user) if CATALOG in rule.actions for glob in _globs(rule, user)
        ]
        return (EVERYTHING,) if EVERYTHING in globs else tuple(dict.fromkeys(globs))

    def granted(self, user: str, scope: Scope) -> Scope | None:
        """The part of what is asked for that the user may have; None for nothing.

        Who may not push and may create is given `create` for `push`.
        """
        actions: list[str] = []
        if scope.type == REPOSITORY:
            actions = self._on_repository(user, scope)
        elif (scope.type, scope.name) == (REGISTRY, CATALOG) and ANY in scope.actions:
            globs = self.listed(user)
            actions = [ANY if globs == (EVERYTHING,) else CATALOG_LIST] if globs else []
        return Scope(scope.type, scope.name, tuple(actions), scope.resource_class) if actions else None

    def _on_repository(self, user: str, scope: Scope) -> list[str]:
        allowed = self.actions(user, scope.name)
        asked = dict.fromkeys(_ALL) if ANY in scope.actions else dict.fromkeys(scope.actions)
        granted = [action for action in _ALL if action in asked and action in allowed]
        if PUSH_CREATE in allowed and PUSH not in granted and (PUSH in asked or PUSH_CREATE in asked):
            granted.append(PUSH_CREATE)
        return granted

    def _rules_for(self, user: str) -> Iterable[Rule]:
        return (rule for rule in self._rules if any(self._is(user, each) for each in rule.subjects))

    def _is(self, user: str, subject: str) -> bool:
        if subject == ANONYMOUS:
            # Whoever logged in could as well have not.
            return True
        if not user:
            return False
        if subject == AUTHENTICATED:
            return True
        kind, _, name = subject.partition(":")
        return name == user if kind == "user" else user in self._groups.get(name, ())


def _globs(rule: Rule, user: str) -> Iterable[str]:
    """The rule's globs with the user's name in its place; without those that such a name does not fit."""
    for glob in rule.repositories:
        if USER_PLACEHOLDER not in glob:
            yield glob
        elif _is_component(user):
            yield glob.replace(USER_PLACEHOLDER, user)


def _is_component(user: str) -> bool:
    """Whether a user's name can be a component of a repository's name, where it stands for itself alone."""
    try:
        return "/" not in parse_name(user)
    except InvalidReferenceError:
        return False
