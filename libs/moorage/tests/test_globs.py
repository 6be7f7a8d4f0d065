from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.globs import EVERYTHING, InvalidGlobError, is_literal, matches, parse_glob


@pytest.mark.parametrize(
    ("glob", "matched", "others"),
    [
        ("team/app", ["team/app"], ["team", "team/app2", "xteam/app", "team/app/x"]),
        ("team/*", ["team/app", "team/a-b"], ["team", "team/app/x", "teams/app"]),
        ("team/**", ["team/app", "team/app/x/y"], ["team", "teams/app"]),
        ("team-*", ["team-a", "team-"], ["team", "team-a/b"]),
        ("**", ["a", "a/b/c"], []),
        ("**/base", ["a/base", "a/b/base"], ["base", "a/base/x"]),
        ("*", ["a"], ["a/b"]),
        ("v?.*", ["v1.0", "v2."], ["v10.0", "v1"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_a_glob_matches_whole_names(glob: str, matched: list[str], others: list[str]) -> None:
    assert parse_glob(glob) == glob
    assert [name for name in matched + others if matches(glob, name)] == matched


@pytest.mark.parametrize(
    "text", ["", "a***", "****", "team/[ab]", "a b", "{a,b}", "!a", "a\n", "ü", "x" * 256, "*/" * 9 + "x"]
)
def test_what_is_no_glob_is_refused(text: str) -> None:
    with pytest.raises(InvalidGlobError):
        parse_glob(text)


NAMES = st.text("ab/._-", max_size=12)


@given(NAMES.filter(bool), NAMES)
def test_a_glob_without_signs_matches_itself_alone(glob: str, name: str) -> None:
    assert is_literal(glob)
    assert matches(glob, name) == (glob == name)


@given(NAMES)
def test_two_stars_match_everything(name: str) -> None:
    assert matches(EVERYTHING, name)
    assert not is_literal(EVERYTHING)
