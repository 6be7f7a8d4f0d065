from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.tokens.scopes import MOST_SCOPES, InvalidScopeError, Scope, parse_scope, parse_scopes


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("repository:team/app:pull", Scope("repository", "team/app", ("pull",))),
        ("repository:team/app:pull,push", Scope("repository", "team/app", ("pull", "push"))),
        ("repository(plugin):app:push", Scope("repository", "app", ("push",), "plugin")),
        ("registry:catalog:*", Scope("registry", "catalog", ("*",))),
        # A resource of another type may have a host and a port in its name.
        ("chart:charts.example:5000/app:pull", Scope("chart", "charts.example:5000/app", ("pull",))),
    ],
)
def test_a_scope_is_type_name_and_actions(text: str, scope: Scope) -> None:
    assert parse_scope(text) == scope
    assert str(scope) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repository",
        "repository:app",
        ":app:pull",
        "repository::pull",
        "repository:app:",
        "repository:app:pull,",
        "repository:app:Pull",
        "repository:App:pull",
        "repository:../etc:pull",
        "repository:app/:pull",
        "repository():app:pull",
        "Repository:app:pull",
        "repository:app:pull\n",
        "repository:" + "a" * 2000 + ":pull",
    ],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(InvalidScopeError):
        parse_scope(text)


def test_scopes_stand_in_several_parameters_or_with_spaces_between_and_those_on_one_resource_are_one() -> (
    None
):
    scopes = parse_scopes(["repository:a:pull repository:b:pull", "repository:a:push,pull", ""])
    assert list(map(str, scopes)) == ["repository:a:pull,push", "repository:b:pull"]


def test_there_is_an_end_to_scopes() -> None:
    assert len(parse_scopes([f"repository:r{number}:pull" for number in range(MOST_SCOPES)])) == MOST_SCOPES
    with pytest.raises(InvalidScopeError):
        parse_scopes(["repository:a:pull"] * (MOST_SCOPES + 1))


@given(st.text(max_size=60))
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        scope = parse_scope(text)
    except InvalidScopeError:
        return
    assert parse_scope(str(scope)) == scope
