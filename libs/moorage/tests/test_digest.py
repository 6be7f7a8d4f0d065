from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.digest import EMPTY_DIGEST, Digest, InvalidDigestError, new_hash


@given(st.binary(max_size=200), st.sampled_from(["sha256", "sha512"]))
def test_the_digest_of_content_parses_and_verifies_it(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert Digest.parse(str(digest)) == digest
    assert digest.verifies(content)
    assert not digest.verifies(content + b".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha512:" + "a" * 64,
        "sha384:" + "a" * 96,
        "md5:" + "a" * 32,
        " sha256:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "٣" * 64,
        "sha256:../" + "a" * 61,
    ],
)
def test_what_is_not_exactly_a_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidDigestError):
        Digest.parse(text)


@given(st.text(alphabet=string.hexdigits + ":sha/.\n\0", max_size=140))
def test_whatever_parses_is_safe_in_a_path(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidDigestError:
        return
    assert set(digest.hex) <= set("0123456789abcdef")


def test_the_empty_digest_is_the_well_known_one() -> None:
    assert EMPTY_DIGEST.hex.startswith("e3b0c44298fc1c14")


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(InvalidDigestError):
        new_hash("md5")
