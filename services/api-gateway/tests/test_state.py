"""The signed state of an upload."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.state import InvalidStateError, StateSigner, UploadState

STATE = UploadState("team/app", "963eb936-54a7-4b1a-b422-cf46153d1ec0", 0, "2026-11-24T11:24:28.915680599Z")

# What docker-registry 2.8.2 answered with http.secret "shared-by-two-registries".
OF_DISTRIBUTION = (
    "Rcyw4_tA6pGY23jU08abIcT6Vm6gAIwJCyILh_Doo0R7Ik5hbWUiOiJ0ZWFtL2FwcCIsIlVVSUQiOiI5NjNlYjkzNi01NGE3LTRiMWEt"
    "YjQyMi1jZjQ2MTUzZDFlYzAiLCJPZmZzZXQiOjAsIlN0YXJ0ZWRBdCI6IjIwMjYtMTEtMjRUMTE6MjQ6MjguOTE1NjgwNTk5WiJ9"
)


def signed(secret: bytes, document: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(secret, document, hashlib.sha256) + document).decode()


def test_a_token_of_distribution_with_the_same_secret_is_understood_and_the_same_as_ours() -> None:
    signer = StateSigner(b"shared-by-two-registries")
    assert signer.verify(OF_DISTRIBUTION) == STATE
    assert signer.sign(STATE) == OF_DISTRIBUTION


def test_a_token_is_refused_under_another_secret() -> None:
    with pytest.raises(InvalidStateError):
        StateSigner(b"another").verify(StateSigner(b"one").sign(STATE))


def test_an_empty_secret_signs_nothing() -> None:
    with pytest.raises(ValueError, match="empty"):
        StateSigner(b"")


@given(
    st.text(min_size=1), st.text(), st.integers(0, 2**63 - 1), st.text(), st.binary(min_size=1, max_size=40)
)
def test_what_was_signed_is_what_is_read(
    name: str, upload_id: str, offset: int, started: str, secret: bytes
) -> None:
    state = UploadState(name, upload_id, offset, started)
    assert StateSigner(secret).verify(StateSigner(secret).sign(state)) == state


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_with_one_byte_changed_is_refused(position: int, change: int) -> None:
    signer = StateSigner(b"secret")
    token = bytearray(base64.urlsafe_b64decode(signer.sign(STATE)))
    token[position % len(token)] ^= change
    with pytest.raises(InvalidStateError):
        signer.verify(base64.urlsafe_b64encode(bytes(token)).decode())


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidStateError):
        StateSigner(b"secret").verify(text)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"Name":"a","UUID":"b","Offset":"1","StartedAt":"c"}',
        b'{"Name":"a","UUID":"b","Offset":true,"StartedAt":"c"}',
        b'{"Name":"a","UUID":"b","Offset":1.5,"StartedAt":"c"}',
        b'{"Name":"a","UUID":"b","Offset":-1,"StartedAt":"c"}',
        b'{"Name":"a","UUID":"b","Offset":9223372036854775808,"StartedAt":"c"}',
        b'{"Name":1,"UUID":"b","Offset":1,"StartedAt":"c"}',
        b'{"Name":"a","UUID":"b","Offset":1}',
    ],
)
def test_a_signed_document_of_another_shape_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidStateError):
        StateSigner(b"secret").verify(signed(b"secret", document))


def test_the_signed_document_is_distributions() -> None:
    document = base64.urlsafe_b64decode(StateSigner(b"secret").sign(STATE))[32:]
    assert json.loads(document) == {
        "Name": STATE.repository,
        "UUID": STATE.upload_id,
        "Offset": 0,
        "StartedAt": STATE.started_at,
    }
