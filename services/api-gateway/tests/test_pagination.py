"""Page sizes and links to the next page."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.pagination import next_link, parse_page_size
from moorage.errors import ErrorCode, RegistryError


@pytest.mark.parametrize(
    ("text", "n"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("1", 1),
        ("00100", 100),
        ("0" * 5000 + "7", 7),
        ("2147483648", 10**9),
    ],
)
def test_a_number_is_read(text: str | None, n: int | None) -> None:
    assert parse_page_size(text) == n


def test_a_number_of_any_length_is_cut_and_not_computed() -> None:
    assert parse_page_size("9" * 1_000_000) == 10**9


@pytest.mark.parametrize(
    "text", ["-1", "+1", " 1", "1 ", "1e9", "1.0", "0x10", "x", "\uff11\uff12", "٣", "1_000", "1\n"]
)
def test_what_is_no_ascii_decimal_is_refused(text: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_page_size(text)
    assert caught.value.code is ErrorCode.PAGINATION_NUMBER_INVALID
    assert caught.value.entries[0].detail == {"n": text}


def test_a_refusal_quotes_only_the_beginning_of_a_long_text() -> None:
    with pytest.raises(RegistryError) as caught:
        parse_page_size("x" * 100_000)
    assert len(caught.value.envelope()) < 300


@given(st.integers(0, 10**9), st.text(), st.text())
def test_a_link_gives_back_what_the_next_page_needs(n: int, last: str, artifact_type: str) -> None:
    link = next_link("/v2/a%2Db/tags/list", n, last, artifactType=artifact_type)
    match = re.fullmatch(r'<([^<>]*)>; rel="next"', link)
    assert match is not None
    url = urlsplit(match[1])
    query = parse_qs(url.query, keep_blank_values=True, strict_parsing=True)
    assert (url.path, url.netloc) == ("/v2/a%2Db/tags/list", "")
    assert query == {"n": [str(n)], "last": [last], "artifactType": [artifact_type]}
