"""`auth.token.server`: the registry as its own token service. Durations are seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from moorage.config.failures import Failures
from moorage.config.globs import at_least_one
from moorage.config.section import Section
from moorage.config.values import Lines, Seconds, Text, as_list, one_of
from moorage.globs import InvalidGlobError, parse_glob

ANONYMOUS = "anonymous"
AUTHENTICATED = "authenticated"
_NAMED = ("user", "group")

USER_PLACEHOLDER = "${user}"

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)

# What a name may not hold: a line of htpasswd ends a name with its first colon.
_NOT_IN_NAME = re.compile(r"[:\s\x00-\x1f\x7f]")

# distribution's clients take a token for at least this long, whatever its answer says.
_SHORTEST = 60.0


def _path(value: str) -> str:
    if _PATH.fullmatch(value) is None:
        raise ValueError(f"must be '/' and path segments of letters, digits and '._~-': {value!r}")
    return value


def _subject(value: str) -> str:
    kind, colon, name = value.partition(":")
    if value in {ANONYMOUS, AUTHENTICATED}:
        return value
    if not colon or kind not in _NAMED:
        raise ValueError(
            f"not a subject: {value!r}: 'anonymous', 'authenticated', 'user:<name>' or 'group:<name>'"
        )
    if not name or _NOT_IN_NAME.search(name):
        raise ValueError(f"not a subject: {value!r}: no name that an account can have")
    return value


def _repositories(value: str) -> str:
    """A glob in which a whole component may be `${user}`."""
    components = ["user" if component == USER_PLACEHOLDER else component for component in value.split("/")]
    try:
        parse_glob("/".join(components))
    except InvalidGlobError as error:
        if USER_PLACEHOLDER in value:
            raise ValueError(f"{error}; '{USER_PLACEHOLDER}' must stand alone between slashes") from error
        raise
    return value


def _lifetime(value: float) -> float:
    if value < _SHORTEST:
        raise ValueError(f"must be at least {_SHORTEST:g}s: clients keep a token for so long")
    return value


Action = Literal["pull", "push", "create", "delete", "catalog"]
_Action = Annotated[Action, BeforeValidator(one_of("pull", "push", "create", "delete", "catalog"))]
_Subject = Annotated[Text, AfterValidator(_subject)]
_Repositories = Annotated[Text, AfterValidator(_repositories)]


class Rule(Section):
    """One of `auth.token.server.rules`: all of its subjects may do all of its actions to its repositories."""

    subjects: Annotated[tuple[_Subject, ...], BeforeValidator(as_list), AfterValidator(at_least_one)]
    repositories: Annotated[tuple[_Repositories, ...], BeforeValidator(as_list), AfterValidator(at_least_one)]
    actions: Annotated[tuple[_Action, ...], BeforeValidator(as_list), AfterValidator(at_least_one)]


class TokenServer(Section):
    """`auth.token.server`. `refreshexpiration` 0 issues no refresh tokens."""

    path: Annotated[Text, AfterValidator(_path)] = "/token"
    htpasswd: Text
    key: Text
    previouskeys: Lines = ()
    expiration: Annotated[Seconds, AfterValidator(_lifetime)] = 300.0
    refreshexpiration: Seconds = 30 * 86400.0
    groups: dict[str, Lines] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    failures: Failures = Field(default_factory=Failures)

    def unknown_groups(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Where a rule names a group that is not there, below this section, and what to say of it."""
        for index, rule in enumerate(self.rules):
            for position, subject in enumerate(rule.subjects):
                kind, _, name = subject.partition(":")
                if kind == "group" and name not in self.groups:
                    yield (
                        ("rules", index, "subjects", position),
                        f"no such group in auth.token.server.groups: {name!r}",
                    )


def clashes(server: TokenServer, prefix: str) -> str:
    """What the server's path takes away from the registry's API below `http.prefix`; "" for nothing."""
    taken = {f"{prefix}v2": "the V2 API", "/openapi.json": "the OpenAPI document"}
    for path, what in taken.items():
        if server.path == path or server.path.startswith(f"{path}/") or path == f"{server.path}/jwks.json":
            return f"{server.path} is where {what} is"
    return ""
