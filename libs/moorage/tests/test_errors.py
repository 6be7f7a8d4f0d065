from __future__ import annotations

import json

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import ErrorCode, ErrorEntry, RegistryError
from moorage.rpc.status import DETAILS_KEY, pack, unpack

DETAILS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.lists(
    st.builds(
        ErrorEntry,
        st.sampled_from(ErrorCode),
        DETAILS,
        st.text(max_size=40),
        st.sampled_from([0, 413, 415]),
    ),
    min_size=1,
    max_size=4,
)


@given(ENTRIES)
def test_an_error_survives_its_way_through_a_status(entries: list[ErrorEntry]) -> None:
    error = RegistryError.of(entries)
    failed = grpc.aio.AioRpcError(
        grpc.StatusCode.UNKNOWN, grpc.aio.Metadata(), grpc.aio.Metadata((DETAILS_KEY, pack(error)))
    )
    assert list(unpack(failed).entries) == entries


@given(ENTRIES)
def test_the_envelope_is_ascii_json_of_the_form_that_clients_parse(entries: list[ErrorEntry]) -> None:
    body = RegistryError.of(entries).envelope()
    assert body.isascii()
    for entry, parsed in zip(entries, json.loads(body)["errors"], strict=True):
        assert parsed["code"] == entry.code.name
        assert parsed["message"] == (entry.message or entry.code.message)
        assert parsed.get("detail") == entry.detail


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *[("UNKNOWN", 500), ("UNSUPPORTED", 405), ("UNAUTHORIZED", 401), ("DENIED", 403)],
        *[("UNAVAILABLE", 503), ("TOOMANYREQUESTS", 429), ("DIGEST_INVALID", 400), ("SIZE_INVALID", 400)],
        *[("RANGE_INVALID", 416), ("NAME_INVALID", 400), ("TAG_INVALID", 400), ("NAME_UNKNOWN", 404)],
        *[("MANIFEST_UNKNOWN", 404), ("MANIFEST_INVALID", 400), ("MANIFEST_UNVERIFIED", 400)],
        *[("MANIFEST_BLOB_UNKNOWN", 400), ("BLOB_UNKNOWN", 404), ("BLOB_UPLOAD_UNKNOWN", 404)],
        *[("BLOB_UPLOAD_INVALID", 404), ("PAGINATION_NUMBER_INVALID", 400)],
    ],
)
def test_each_code_has_the_status_of_the_reference(code: str, status: int) -> None:
    assert RegistryError(ErrorCode[code]).http_status == status


def test_every_code_is_one_of_the_reference() -> None:
    assert len(ErrorCode) == 20
