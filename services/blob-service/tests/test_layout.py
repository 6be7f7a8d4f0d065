"""Layout v2, path for path, and ids that can never leave an upload's folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blob_service.drivers.paths import check_path
from blob_service.layout import (
    InvalidUploadIdError,
    UploadKey,
    blob_data,
    blob_folder,
    upload_data,
    upload_folder,
    upload_started_at,
)
from moorage.digest import Digest
from moorage.reference import InvalidReferenceError, parse_name

HEX = "ab" + "0" * 62


def test_a_blob_lies_under_its_digest() -> None:
    digest = Digest.parse(f"sha256:{HEX}")
    assert blob_folder(digest) == f"/docker/registry/v2/blobs/sha256/ab/{HEX}"
    assert blob_data(digest) == f"/docker/registry/v2/blobs/sha256/ab/{HEX}/data"


def test_an_upload_lies_in_its_repository() -> None:
    key = UploadKey.parse("library/ubuntu", "0197f3c2-1111-7000-8000-000000000000")
    folder = "/docker/registry/v2/repositories/library/ubuntu/_uploads/0197f3c2-1111-7000-8000-000000000000"
    assert upload_folder(key) == folder
    assert upload_data(key) == f"{folder}/data"
    assert upload_started_at(key) == f"{folder}/startedat"


@pytest.mark.parametrize("upload_id", ["a", "A-Z_0.9", "...", "x" * 128])
def test_ids_of_other_registries_are_accepted(upload_id) -> None:
    assert UploadKey.parse("a", upload_id).id == upload_id


@pytest.mark.parametrize("upload_id", ["", ".", "..", "/", "a/b", "a\n", "\0", "a=b", "é", "x" * 129])
def test_other_ids_are_refused(upload_id) -> None:
    with pytest.raises(InvalidUploadIdError):
        UploadKey.parse("a", upload_id)


@given(st.text(max_size=300), st.text(max_size=140))
def test_whatever_parses_makes_paths_that_a_driver_takes(repository, upload_id) -> None:
    try:
        key = UploadKey.parse(repository, upload_id)
    except (InvalidUploadIdError, InvalidReferenceError):
        return
    check_path(upload_data(key))
    assert upload_folder(key).startswith("/docker/registry/v2/repositories/")


@given(st.from_regex(r"\A[A-Za-z0-9_.=/-]{1,20}\Z"), st.from_regex(r"\A[a-z0-9._/-]{1,20}\Z"))
def test_an_upload_is_exactly_one_folder_below_its_repositorys_uploads(upload_id, repository) -> None:
    try:
        key = UploadKey.parse(repository, upload_id)
    except (InvalidUploadIdError, InvalidReferenceError):
        return
    assert upload_folder(key).split("/")[5:] == [*parse_name(repository).split("/"), "_uploads", upload_id]
    assert ".." not in upload_data(key).split("/")
