"""The access list. What it must never do is to grant more than somebody wrote."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.tokens.acl import AccessList
from api_gateway.tokens.scopes import Scope, parse_scope
from moorage.config.tokenserver import Rule

GROUPS = {"developers": ["ada", "grace"], "robots": ["ci"]}


def rule(subjects: str, repositories: str, actions: str) -> Rule:
    return Rule(
        subjects=tuple(subjects.split()),
        repositories=tuple(repositories.split()),
        actions=tuple(actions.split()),
    )


def granted(acl: AccessList, user: str, scope: str) -> str:
    """What is granted of a scope, in the same form; "" for nothing."""
    found = acl.granted(user, parse_scope(scope))
    return "" if found is None else str(found)


PUBLIC = AccessList([rule("anonymous", "**", "pull"), rule("authenticated", "**", "push delete")], GROUPS)


@pytest.mark.parametrize(
    ("user", "asked", "expected"),
    [
        ("", "repository:app:pull", "repository:app:pull"),
        ("", "repository:app:pull,push", "repository:app:pull"),
        ("", "repository:app:push", ""),
        ("ada", "repository:app:pull,push", "repository:app:pull,push"),
        ("ada", "repository:app:*", "repository:app:pull,push,delete"),
        ("", "repository:app:*", "repository:app:pull"),
        ("ada", "registry:catalog:*", ""),
        ("ada", "chart:app:pull", ""),
        ("ada", "repository(plugin):app:push", "repository(plugin):app:push"),
    ],
)
def test_anybody_pulls_and_who_logs_in_pushes(user: str, asked: str, expected: str) -> None:
    assert granted(PUBLIC, user, asked) == expected


def test_rules_add_up_in_any_order() -> None:
    rules = [rule("user:ada", "team/**", "push"), rule("group:developers", "**", "pull")]
    for acl in (AccessList(rules, GROUPS), AccessList(rules[::-1], GROUPS)):
        assert acl.actions("ada", "team/app") == {"pull", "push"}
        assert acl.actions("ada", "other") == {"pull"}
        assert acl.actions("grace", "team/app") == {"pull"}
        assert acl.actions("ci", "team/app") == frozenset()
        assert acl.actions("", "team/app") == frozenset()


def test_a_name_in_place_of_the_user_stands_for_itself_alone() -> None:
    acl = AccessList([rule("authenticated", "home/${user}/**", "pull push")], {})
    assert acl.actions("ada", "home/ada/app") == {"pull", "push"}
    assert acl.actions("ada", "home/grace/app") == frozenset()
    # Names that are no component of a repository's name, or more than one, have no place.
    for user in ("*", "**", "a*", "ada/x", "..", "Ada", "", "a b", "?"):
        assert acl.actions(user, "home/ada/app") == frozenset()


def test_who_may_create_and_not_push_is_given_create_for_push() -> None:
    acl = AccessList([rule("user:ci", "release/**", "pull create")], {})
    assert granted(acl, "ci", "repository:release/app:pull,push") == "repository:release/app:pull,create"
    assert granted(acl, "ci", "repository:release/app:*") == "repository:release/app:pull,create"
    assert granted(acl, "ci", "repository:release/app:pull") == "repository:release/app:pull"
    both = AccessList([rule("user:ci", "**", "create"), rule("user:ci", "**", "push")], {})
    assert granted(both, "ci", "repository:app:push") == "repository:app:push"


def test_create_is_never_taken_for_push() -> None:
    assert granted(PUBLIC, "ada", "repository:app:create") == ""


@pytest.mark.parametrize(
    ("rules", "expected", "globs"),
    [
        ([rule("user:ada", "**", "catalog")], "registry:catalog:*", ("**",)),
        ([rule("user:ada", "team/** other", "catalog")], "registry:catalog:list", ("team/**", "other")),
        ([rule("user:ada", "**", "pull push delete create")], "", ()),
        ([rule("user:ada", "${user}/**", "catalog")], "registry:catalog:list", ("ada/**",)),
    ],
)
def test_the_catalog_shows_what_the_rules_say(rules: list[Rule], expected: str, globs: Any) -> None:
    acl = AccessList(rules, {})
    assert granted(acl, "ada", "registry:catalog:*") == expected
    assert acl.listed("ada") == globs
    assert granted(acl, "grace", "registry:catalog:*") == ""


def test_nobody_is_let_in_unless_a_rule_says_so() -> None:
    assert PUBLIC.admits_anonymous
    assert not AccessList([rule("authenticated", "**", "pull")], {}).admits_anonymous
    assert not AccessList([], {}).admits_anonymous
    assert AccessList([], {}).actions("ada", "app") == frozenset()


# A second opinion on every rule, written as plainly as can be.

USERS = st.sampled_from(["", "ada", "grace", "ci", "eve"])
SUBJECTS = st.sampled_from(
    ["anonymous", "authenticated", "user:ada", "user:ci", "group:developers", "group:robots"]
)
GLOBS = st.sampled_from(
    ["**", "*", "team/*", "team/**", "team/app", "home/${user}", "${user}/**", "*/app", "t?am/**"]
)
NAMES = st.sampled_from(
    ["app", "team", "team/app", "team/a/b", "home/ada", "home/ci", "ada/x", "tram/x", "eve/app"]
)
ACTIONS = st.lists(
    st.sampled_from(["pull", "push", "create", "delete", "catalog"]), min_size=1, max_size=5, unique=True
)
RULES = st.lists(
    st.builds(
        Rule,
        subjects=st.lists(SUBJECTS, min_size=1, max_size=3).map(tuple),
        repositories=st.lists(GLOBS, min_size=1, max_size=3).map(tuple),
        actions=ACTIONS.map(tuple),
    ),
    max_size=5,
)
ASKED = st.lists(
    st.sampled_from(["pull", "push", "delete", "create", "catalog", "*", "admin"]),
    min_size=1,
    max_size=4,
    unique=True,
)


def written(rules: list[Rule], user: str, name: str) -> set[str]:
    members = {"developers": {"ada", "grace"}, "robots": {"ci"}}
    found: set[str] = set()
    for each in rules:
        concerned = any(
            subject == "anonymous"
            or (subject == "authenticated" and user != "")
            or (user != "" and subject == f"user:{user}")
            or (subject.startswith("group:") and user in members[subject[6:]])
            for subject in each.subjects
        )
        for glob in each.repositories:
            if "${user}" in glob and user == "":
                continue
            expression = glob.replace("${user}", user).replace("?", "[^/]").replace("**", "\0")
            expression = expression.replace("*", "[^/]*").replace("\0", ".*")
            if concerned and re.fullmatch(expression, name):
                found |= set(each.actions)
    return found


@given(rules=RULES, user=USERS, name=NAMES, asked=ASKED)
def test_nothing_is_granted_that_is_not_written(
    rules: list[Rule], user: str, name: str, asked: list[str]
) -> None:
    acl = AccessList(rules, GROUPS)
    allowed = written(rules, user, name)
    assert acl.actions(user, name) == allowed
    found = acl.granted(user, Scope("repository", name, tuple(asked)))
    actions = set(found.actions) if found else set()
    assert actions <= allowed
    assert actions <= {"pull", "push", "create", "delete"}
    if "*" not in asked:
        assert actions <= set(asked) | ({"create"} if "push" in asked else set())
    # And nothing is held back.
    assert actions >= allowed & set(asked) & {"pull", "push", "delete"}
    if found:
        assert found.name == name


@given(rules=RULES, user=USERS, further=RULES)
def test_another_rule_takes_nothing_away(rules: list[Rule], user: str, further: list[Rule]) -> None:
    for name in ("app", "team/app", "home/ada"):
        before = AccessList(rules, GROUPS).actions(user, name)
        assert AccessList([*rules, *further], GROUPS).actions(user, name) >= before
