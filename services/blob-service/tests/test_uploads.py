"""An upload from start to commit or cancel, over each driver, through the contract."""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.errors import RegistryError
from moorage.v1 import blob_pb2

EMPTY_SHA256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
FOLDER = "/docker/registry/v2/repositories/library/ubuntu/_uploads"


async def test_a_started_upload_is_empty_and_lies_where_distribution_expects_it(service) -> None:
    upload = await service.start()
    assert upload.offset == 0
    assert await service.stored_paths() == [
        f"{FOLDER}/{upload.key.id}/data",
        f"{FOLDER}/{upload.key.id}/startedat",
    ]
    started = await service.driver.get_content(f"{FOLDER}/{upload.key.id}/startedat")
    assert started.decode() == upload.started_at


async def test_an_upload_tells_when_it_was_started_in_rfc3339_utc(service) -> None:
    upload = await service.start()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", upload.started_at)
    age = datetime.now(UTC) - datetime.fromisoformat(upload.started_at)
    assert timedelta(0) <= age < timedelta(minutes=1)


async def test_upload_ids_are_uuids_and_differ(service) -> None:
    ids = {(await service.start()).key.id for _ in range(5)}
    assert len({str(uuid.UUID(upload_id)) for upload_id in ids}) == 5


async def test_what_is_appended_is_counted_and_committed(service, content_of, digest_of) -> None:
    content = content_of(3_000_001)
    upload = await service.start()
    upload = await service.append(upload, content[:1_000_000])
    assert upload.offset == 1_000_000
    upload = await service.append(upload, content[1_000_000:2_500_000], length=1_500_000)
    assert (await service.status(upload)).offset == 2_500_000
    descriptor = await service.commit(upload, digest_of(content), content[2_500_000:])
    assert (descriptor.digest, descriptor.size) == (digest_of(content), 3_000_001)
    assert await service.read(descriptor.digest) == content


async def test_a_committed_blob_is_all_that_is_left_of_its_upload(service, content_of, path_of) -> None:
    digest = await service.upload(content_of(100))
    assert await service.stored_paths() == [path_of(digest)]


async def test_many_small_messages_are_one_stream(service, content_of, digest_of) -> None:
    content = content_of(50_000)
    pieces = [content[at : at + 997] for at in range(0, len(content), 997)]
    upload = await service.append(await service.start(), pieces)
    assert upload.offset == len(content)
    await service.commit(upload, digest_of(content))
    assert await service.read(digest_of(content)) == content


async def test_an_append_of_nothing_changes_nothing(service) -> None:
    upload = await service.append(await service.start(), b"abc")
    assert (await service.append(upload, b"", length=0)).offset == 3
    assert (await service.append(upload, [b"", b""])).offset == 3


async def test_the_empty_blob_is_committed(service) -> None:
    descriptor = await service.commit(await service.start(), EMPTY_SHA256, length=0)
    assert (descriptor.digest, descriptor.size) == (EMPTY_SHA256, 0)
    assert await service.read(EMPTY_SHA256) == b""


@pytest.mark.parametrize("hint", ["", "sha256", "sha512"])
async def test_a_sha512_digest_is_verified_and_stored_under_its_sha256(
    service, content_of, digest_of, hint
) -> None:
    content = content_of(300_000)
    provisional = f"sha512:{hashlib.sha512(content).hexdigest()}"
    upload = await service.append(await service.start(algorithm=hint), content[:200_000])
    descriptor = await service.commit(upload, provisional, content[200_000:])
    assert descriptor.digest == digest_of(content)
    assert await service.read(digest_of(content)) == content
    assert await service.stat(provisional) == {}


async def test_a_hint_of_another_algorithm_does_no_harm(service, content_of, digest_of) -> None:
    content = content_of(1000)
    upload = await service.append(await service.start(algorithm="sha512"), content)
    assert (await service.commit(upload, digest_of(content))).digest == digest_of(content)


@pytest.mark.parametrize("place", [0, 99_999, 100_000, 199_999])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_one_flipped_bit_is_found_and_nothing_is_stored(
    service, content_of, refused, place, algorithm
) -> None:
    content = content_of(200_000)
    digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    flipped = bytearray(content)
    flipped[place] ^= 0x10
    upload = await service.append(await service.start(), bytes(flipped[:100_000]))
    with refused("DIGEST_INVALID") as refusal:
        await service.commit(upload, digest, bytes(flipped[100_000:]))
    assert refusal.detail == {"digest": digest, "reason": "content does not match digest"}
    assert await service.stored_paths() == []
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await service.status(upload)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:abc",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:" + "A" * 64,
        "x" * 900,
    ],
)
async def test_a_malformed_digest_is_refused_and_the_upload_goes_on(
    service, content_of, digest_of, refused, digest
) -> None:
    content = content_of(1000)
    upload = await service.append(await service.start(), content[:600])
    with refused("DIGEST_INVALID") as refusal:
        await service.commit(upload, digest, content[600:])
    assert refusal.status == 400
    assert (await service.status(upload)).offset == 600
    await service.commit(upload, digest_of(content), content[600:])


async def test_an_unsupported_hint_is_refused_and_nothing_is_started(service, refused) -> None:
    with refused("DIGEST_INVALID"):
        await service.start(algorithm="md5")
    assert await service.stored_paths() == []


async def test_a_cancelled_upload_is_gone_with_its_data(service, refused) -> None:
    upload = await service.append(await service.start(), b"data")
    await service.cancel(upload)
    assert await service.stored_paths() == []
    for call in (service.status, service.append, service.cancel):
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await call(upload)


async def test_a_committed_upload_is_unknown(service, digest_of, refused) -> None:
    upload = await service.append(await service.start(), b"data")
    await service.commit(upload, digest_of(b"data"))
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await service.commit(upload, digest_of(b"data"))
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await service.status(upload)


@pytest.mark.parametrize("offset", [-1, 0, 3, 5, 2**31, 2**63 - 1, -(2**63)])
async def test_a_wrong_offset_is_refused_with_the_right_one(service, digest_of, refused, offset) -> None:
    upload = await service.append(await service.start(), b"data")
    for call in (
        service.append(upload, b"more", offset=offset),
        service.commit(upload, digest_of(b"datamore"), b"more", offset=offset),
        service.cancel(upload, offset=offset),
    ):
        with refused("RANGE_INVALID") as refusal:
            await call
        assert refusal.detail == {"offset": 4}
    assert (await service.status(upload)).offset == 4
    await service.commit(upload, digest_of(b"datamore"), b"more")


@pytest.mark.parametrize("declared", [5, 7, 1 << 40])
async def test_a_stream_shorter_than_declared_is_refused_and_kept(
    service, digest_of, refused, declared
) -> None:
    """The bytes are in their place, so that the client can send what is missing."""
    upload = await service.append(await service.start(), b"01")
    with refused("SIZE_INVALID") as refusal:
        await service.append(upload, b"2345", length=declared)
    assert refusal.detail == {"length": declared, "offset": 6}
    assert (await service.status(upload)).offset == 6
    await service.commit(upload, digest_of(b"0123456789"), b"6789", offset=6, length=4)


@pytest.mark.parametrize("chunks", [[b"2345"], [b"23", b"45"], [b"2", b"3", b"4", b"5"]])
async def test_a_stream_longer_than_declared_is_refused_and_cut_off(
    service, digest_of, refused, chunks
) -> None:
    upload = await service.append(await service.start(), b"01")
    with refused("SIZE_INVALID") as refusal:
        await service.append(upload, chunks, length=2)
    assert refusal.detail == {"length": 2, "offset": 4}
    await service.commit(upload, digest_of(b"012345"), b"45", offset=4)


async def test_a_negative_length_is_refused(service, refused) -> None:
    upload = await service.start()
    with refused("SIZE_INVALID"):
        await service.append(upload, b"x", length=-1)
    assert (await service.status(upload)).offset == 0


@pytest.mark.parametrize("sent", [b"234", b"23456"])
async def test_a_commit_with_the_wrong_length_commits_nothing_and_keeps_the_upload(
    service, digest_of, refused, sent
) -> None:
    upload = await service.append(await service.start(), b"01")
    with refused("SIZE_INVALID"):
        await service.commit(upload, digest_of(b"01" + sent), sent, length=4)
    assert await service.stat(digest_of(b"01" + sent)) == {}
    assert (await service.status(upload)).offset == 2 + min(len(sent), 4)


async def test_uploads_of_one_id_in_two_repositories_have_nothing_in_common(service, refused) -> None:
    upload = await service.append(await service.start("team/a"), b"secret")
    upload.key.repository = "team/b"
    for call in (service.status, service.append, service.cancel):
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await call(upload)
    upload.key.repository = "team/a"
    assert (await service.status(upload)).offset == 6


@pytest.mark.parametrize(
    "repository", ["", "A", "a//b", "../x", "a/../b", "_uploads", "a/_uploads/b", "a" * 256, "a\0", "ä"]
)
async def test_an_invalid_repository_name_is_refused(service, refused, repository) -> None:
    with refused("NAME_INVALID"):
        await service.start(repository)
    assert await service.stored_paths() == []


@pytest.mark.parametrize("upload_id", ["", ".", "..", "a/b", "../x", "a b", "a\0b", "x" * 129, "ä", "a=b"])
async def test_an_id_outside_the_grammar_is_unknown(service, refused, upload_id) -> None:
    upload = await service.start()
    upload.key.id = upload_id
    for call in (service.status, service.append, service.cancel):
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await call(upload)


async def test_an_upload_whose_startedat_is_torn_is_unknown(service, refused) -> None:
    upload = await service.start()
    await service.driver.put_content(f"{FOLDER}/{upload.key.id}/startedat", b"2026-0")
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await service.status(upload)


@pytest.mark.parametrize("part", ["data", "startedat"])
async def test_an_upload_of_which_a_crash_left_a_part_is_unknown(service, refused, part) -> None:
    upload = await service.append(await service.start(), b"data")
    await service.driver.delete(f"{FOLDER}/{upload.key.id}/{part}")
    for call in (service.status, service.append, service.cancel):
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await call(upload)


async def test_a_blob_that_is_there_already_is_not_written_again(service, content_of, path_of) -> None:
    content = content_of(5000)
    digest = await service.upload(content)
    before = await service.driver.stat(path_of(digest))
    assert await service.upload(content, "other/repository") == digest
    assert await service.driver.stat(path_of(digest)) == before
    assert await service.stored_paths() == [path_of(digest)]


async def test_a_torn_blob_is_replaced_by_a_push_of_the_same_content(service, content_of, path_of) -> None:
    content = content_of(5000)
    digest = await service.upload(content)
    await service.driver.put_content(path_of(digest), content[:4096])
    await service.upload(content)
    assert await service.read(digest) == content


_INT64 = st.one_of(
    st.integers(min_value=-3, max_value=12), st.integers(min_value=-(2**63), max_value=2**63 - 1)
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offset=_INT64,
    length=st.none() | _INT64,
    chunks=st.lists(st.binary(max_size=6), max_size=4),
    commit=st.booleans(),
)
async def test_whatever_offset_and_length_are_named_the_upload_holds_a_true_prefix(
    service, digest_of, offset, length, chunks, commit
) -> None:
    sent = b"".join(chunks)
    kept = sent if length is None else sent[: max(length, 0)]
    upload = await service.append(await service.start(), b"0123")
    call = (
        service.commit(upload, digest_of(b"0123" + sent), chunks, offset=offset, length=length)
        if commit
        else service.append(upload, chunks, offset=offset, length=length)
    )
    expected = "done"
    if offset != 4:
        expected, kept = "RANGE_INVALID", b""
    elif length is not None and length != len(sent):
        expected = "SIZE_INVALID"
    try:
        await call
        assert expected == "done"
    except RegistryError as error:
        if error.code.name != expected:
            raise
    if commit and expected == "done":
        assert await service.read(digest_of(b"0123" + sent)) == b"0123" + sent
        return
    assert (await service.status(upload)).offset == 4 + len(kept)
    await service.commit(upload, digest_of(b"0123" + kept), offset=4 + len(kept))


async def test_an_upload_over_the_size_limit_is_refused_and_stays_as_it_is(
    storage, serve, digest_of, refused
) -> None:
    service = await serve(storage, "http: {limits: {uploadsize: 10}}")
    upload = await service.append(await service.start(), b"01234567")
    with refused("SIZE_INVALID") as refusal:
        await service.append(upload, b"89A", length=3)
    assert refusal.status == 413
    assert refusal.detail == {"limit": 10}
    with refused("SIZE_INVALID"):
        await service.append(upload, [b"89A"])
    with refused("SIZE_INVALID"):
        await service.commit(upload, digest_of(b"0123456789A"), b"89A")
    assert (await service.status(upload)).offset == 8
    await service.commit(upload, digest_of(b"0123456789"), b"89")


async def test_an_upload_that_docker_registry_left_half_done_is_finished(
    service, content_of, digest_of, path_of
) -> None:
    """Its folder as 2.8.2 writes it. The saved state of its hash is not read, and goes with the folder."""
    content = content_of(100_000)
    key = blob_pb2.UploadKey(repository="library/ubuntu", id="59e9a8c1-5f53-4b3c-9c3a-2a0f4b7b8b11")
    folder = f"{FOLDER}/{key.id}"
    await service.driver.put_content(f"{folder}/startedat", b"2026-11-24T11:30:00Z")
    await service.driver.put_content(f"{folder}/hashstates/sha256/0", b"sha\x03" + bytes(104))
    async with await service.driver.writer(f"{folder}/data") as writer:
        await writer.write(content[:60_000])
    upload = await service.status(blob_pb2.Upload(key=key))
    assert (upload.offset, upload.started_at) == (60_000, "2026-11-24T11:30:00Z")
    await service.commit(upload, digest_of(content), content[60_000:])
    assert await service.stored_paths() == [path_of(digest_of(content))]


async def test_what_is_stored_is_committed_without_data(service, digest_of, path_of) -> None:
    upload = await service.append(await service.start(), b"content")
    descriptor = await service.commit_stored(upload, digest_of(b"content"))
    assert (descriptor.digest, descriptor.size) == (digest_of(b"content"), 7)
    assert await service.stored_paths() == [path_of(descriptor.digest)]


async def test_a_commit_of_what_is_stored_is_refused_as_one_with_data_is(service, digest_of, refused) -> None:
    upload = await service.append(await service.start(), b"content")
    with refused("DIGEST_INVALID"):
        await service.commit_stored(upload, "sha256:short")
    with refused("RANGE_INVALID") as refusal:
        await service.commit_stored(blob_pb2.Upload(key=upload.key, offset=3), digest_of(b"content"))
    assert refusal.detail == {"offset": 7}
    with refused("DIGEST_INVALID"):
        await service.commit_stored(upload, digest_of(b"other"))
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await service.commit_stored(upload, digest_of(b"content"))
    assert await service.stored_paths() == []
