from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.digest import Digest, InvalidDigestError
from moorage.reference import (
    NAME_PATTERN,
    TAG_PATTERN,
    InvalidReferenceError,
    name_sort_key,
    parse_name,
    parse_reference,
    parse_tag,
)


@pytest.mark.parametrize(
    "name", ["a", "a/b", "a.b", "a__b", "a---b", "0/1/2", "a" * 255, "foo/blobs/uploads"]
)
def test_names_of_the_grammar_are_taken(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "A", "a/", "/a", "a//b", "a/../b", ".", "..", "a___b", "a..b", "a._b", "-a", "a-", "a_"),
        *("_manifests", "a/_layers", "a b", "a\n", "a\0", "ä", "a%2fb", "a:b", "a" * 256),
    ],
)
def test_names_outside_the_grammar_are_refused(name: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_name(name)


@pytest.mark.parametrize("tag", ["latest", "v1.0", "_x", "A-b.C_9", "a" * 128])
def test_tags_of_the_grammar_are_taken(tag: str) -> None:
    assert parse_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a" * 129, "a/b", "a b", "a\n", "é", "..", "a:b"])
def test_tags_outside_the_grammar_are_refused(tag: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_tag(tag)


@given(st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: name.isascii() and len(name) < 256))
def test_every_name_of_the_grammar_is_a_relative_path_that_stays_below(name: str) -> None:
    assert all(part not in ("", ".", "..") and part[0] not in "._-" for part in parse_name(name).split("/"))


@given(st.from_regex(TAG_PATTERN, fullmatch=True).filter(str.isascii))
def test_every_tag_of_the_grammar_is_one_path_component(tag: str) -> None:
    assert "/" not in parse_tag(tag)
    assert tag not in (".", "..")


def test_a_reference_with_a_colon_is_a_digest() -> None:
    digest = Digest.of(b"x")
    assert parse_reference(str(digest)) == digest
    assert parse_reference("latest") == "latest"
    with pytest.raises(InvalidDigestError):
        parse_reference("sha256:short")


def test_the_catalog_sorts_path_by_path() -> None:
    assert sorted(["a-b", "a/b", "a", "b"], key=name_sort_key) == ["a", "a/b", "a-b", "b"]
