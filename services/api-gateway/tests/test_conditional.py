"""Conditional requests: entity tags are digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.conditional import (
    EntityTag,
    Precondition,
    entity_tag,
    evaluate,
    parse_entity_tags,
    range_applies,
)
from api_gateway.headers import Headers

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def headers(**fields: str) -> Headers:
    return Headers(
        [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
    )


@pytest.mark.parametrize(
    ("line", "tags"),
    [
        (f'"{DIGEST}"', [EntityTag(DIGEST)]),
        (DIGEST, [EntityTag(DIGEST)]),
        (f'W/"{DIGEST}"', [EntityTag(DIGEST, weak=True)]),
        (f'"{OTHER}", "{DIGEST}"', [EntityTag(OTHER), EntityTag(DIGEST)]),
        (f'{OTHER} , , W/"x y",{DIGEST}', [EntityTag(OTHER), EntityTag("x y", weak=True), EntityTag(DIGEST)]),
        ("", []),
        ('"never closed', []),
    ],
)
def test_entity_tags_are_read_quoted_and_unquoted(line: str, tags: list[EntityTag]) -> None:
    assert list(parse_entity_tags([line]).tags) == tags


def test_entity_tags_are_read_from_several_lines() -> None:
    assert parse_entity_tags([f'"{OTHER}"', DIGEST]).match_weakly({DIGEST})


def test_a_star_stands_for_any_content() -> None:
    assert parse_entity_tags(["*"]).match_strongly({DIGEST})


def test_a_list_without_end_is_not_read_to_its_end() -> None:
    tags = parse_entity_tags([", ".join(['"x"'] * 100_000)]).tags
    assert len(tags) < 1000


def test_if_none_match_compares_weakly_and_if_match_strongly() -> None:
    weak = f'W/"{DIGEST}"'
    assert evaluate(headers(if_none_match=weak), {DIGEST}) is Precondition.NOT_MODIFIED
    assert evaluate(headers(if_match=weak), {DIGEST}) is Precondition.FAILED


def test_if_match_is_asked_before_if_none_match() -> None:
    both = headers(if_match=f'"{OTHER}"', if_none_match=f'"{DIGEST}"')
    assert evaluate(both, {DIGEST}) is Precondition.FAILED


def test_without_conditions_everything_passes() -> None:
    assert evaluate(headers(), {DIGEST}) is Precondition.PASSED
    assert range_applies(headers(), {DIGEST})


def test_dates_never_decide() -> None:
    date = "Sat, 01 Jan 2000 00:00:00 GMT"
    dated = headers(if_modified_since=date, if_unmodified_since=date)
    assert evaluate(dated, {DIGEST}) is Precondition.PASSED
    assert not range_applies(headers(if_range=date), {DIGEST})


def test_if_range_takes_only_a_strong_match() -> None:
    assert range_applies(headers(if_range=entity_tag(DIGEST)), {DIGEST})
    assert not range_applies(headers(if_range=f'W/"{DIGEST}"'), {DIGEST})
    assert not range_applies(headers(if_range=entity_tag(OTHER)), {DIGEST})


@given(st.lists(st.text(st.characters(max_codepoint=0xFF)), max_size=4))
def test_any_text_can_be_read(lines: list[str]) -> None:
    tags = parse_entity_tags(lines)
    assert tags.any or not tags.match_strongly({"a digest that no list holds"})
