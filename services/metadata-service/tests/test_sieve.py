from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metadata_service.sieve import Sieve
from moorage.globs import matches

COMPONENTS = st.sampled_from(["a", "b", "ab", "app", "team", "x1"])
NAMES = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
GLOB_COMPONENTS = st.sampled_from(
    ["a", "b", "ab", "app", "team", "*", "**", "a*", "*b", "?", "a**", "**b", "t?am"]
)
GLOBS = st.lists(GLOB_COMPONENTS, min_size=1, max_size=4).map("/".join)


@given(globs=st.lists(GLOBS, min_size=1, max_size=3), name=NAMES)
def test_every_repository_that_is_searched_for_can_be_reached(globs: list[str], name: str) -> None:
    sieve = Sieve(globs)
    assert sieve.admits(name) == any(matches(glob, name) for glob in globs)
    if not sieve.admits(name):
        return
    folder = ""
    for component in name.split("/"):
        assert sieve.leads_on(folder)
        children = sieve.children(folder)
        assert children is None or component in children
        folder = f"{folder}/{component}" if folder else component


def test_a_folder_that_leads_nowhere_is_left_out() -> None:
    sieve = Sieve(["team/**", "home/*/app"])
    assert sieve.leads_on("team")
    assert sieve.leads_on("team/deep/down")
    assert sieve.leads_on("home/ada")
    assert not sieve.leads_on("home/ada/app")
    assert not sieve.leads_on("other")
    assert not sieve.leads_on("teams")


def test_what_begins_with_a_name_is_looked_for_by_that_name_alone() -> None:
    sieve = Sieve(["team/**", "home/ada/*", "library"])
    assert sieve.children("") == ["home", "library", "team"]
    assert sieve.children("home") == ["ada"]
    assert sieve.children("home/ada") is None
    assert sieve.children("other") == []


def test_no_globs_let_everything_through() -> None:
    sieve = Sieve()
    assert sieve.is_open
    assert sieve.admits("any/thing")
    assert sieve.leads_on("any")
    assert sieve.children("") is None
