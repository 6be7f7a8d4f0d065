"""Content-addressed blobs, over each driver, through the contract."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from moorage.errors import RegistryError
from moorage.rpc import rpc_errors
from moorage.v1 import blob_pb2

UNKNOWN = "sha256:" + "0" * 64
MALFORMED = [
    "",
    "sha256:",
    "sha256:" + "g" * 64,
    "sha1:" + "0" * 40,
    "../../etc/passwd",
    "sha256:" + "0" * 65,
]


async def test_a_blob_reads_back_whole(service, content_of) -> None:
    content = content_of(2_500_000)
    assert await service.read(await service.upload(content)) == content


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (0, 100_000), (1, 0), (99_999, 0), (99_999, 1), (50_000, 50_000), (100_000, 0)],
)
async def test_a_range_of_a_blob_is_read(service, content_of, offset, length) -> None:
    content = content_of(100_000)
    digest = await service.upload(content)
    assert await service.read(digest, offset, length) == content[offset : offset + length if length else None]


@pytest.mark.parametrize(
    ("offset", "length"), [(-1, 0), (0, -1), (100_001, 0), (2**63 - 1, 0), (-(2**63), 5), (100_001, 1)]
)
async def test_a_range_outside_the_blob_is_refused(service, content_of, refused, offset, length) -> None:
    digest = await service.upload(content_of(100_000))
    with refused("RANGE_INVALID"):
        await service.read(digest, offset, length)


@pytest.mark.parametrize(("offset", "length"), [(0, 100_001), (99_999, 2), (100_000, 1), (5, 2**63 - 1)])
async def test_a_read_that_gets_less_than_it_asked_for_fails(
    service, content_of, refused, offset, length
) -> None:
    digest = await service.upload(content_of(100_000))
    with refused("RANGE_INVALID") as refusal:
        await service.read(digest, offset, length)
    assert refusal.detail == {"missing": length - (100_000 - offset)}


async def test_a_blob_that_is_cut_short_while_it_is_read_fails_the_stream(
    folder_service, content_of, tmp_path, path_of, refused
) -> None:
    digest = await folder_service.upload(content_of(12 << 20))
    received = 0
    with refused("UNAVAILABLE") as refusal, rpc_errors():
        async for part in folder_service.blobs.Read(blob_pb2.ReadRequest(digest=digest), timeout=20):
            received += len(part.data)
            os.truncate(f"{tmp_path}/registry{path_of(digest)}", 8 << 20)
            await asyncio.sleep(0.01)
    assert refusal.detail == "the storage failed"
    assert 0 < received <= 8 << 20


async def test_messages_of_a_read_hold_at_most_one_mebibyte(service, content_of) -> None:
    digest = await service.upload(content_of(3_000_000))
    call = service.blobs.Read(blob_pb2.ReadRequest(digest=digest), timeout=20)
    sizes = [len(part.data) async for part in call]
    assert sum(sizes) == 3_000_000
    assert max(sizes) <= 1 << 20


async def test_a_blob_deleted_while_it_is_read_is_read_to_its_end_or_fails(service, content_of) -> None:
    content = content_of(12 << 20)
    digest = await service.upload(content)
    received, complete = [], False
    with suppress(RegistryError), rpc_errors():
        async for part in service.blobs.Read(blob_pb2.ReadRequest(digest=digest), timeout=20):
            if not received:
                await service.delete(digest)
            received.append(part.data)
        complete = True
    assert content.startswith(b"".join(received))
    assert not complete or b"".join(received) == content


async def test_cancelled_reads_close_the_file(folder_service, content_of, tmp_path, eventually) -> None:
    digest = await folder_service.upload(content_of(30 << 20))

    def open_files() -> int:
        links = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/self/fd/{number}"))
        return sum(link.startswith(f"{tmp_path}/registry") and link.endswith("/data") for link in links)

    calls = []
    for _ in range(5):
        call = folder_service.blobs.Read(blob_pb2.ReadRequest(digest=digest), timeout=20)
        await call.read()
        calls.append(call)
    assert open_files() == 5
    for call in calls:
        call.cancel()
    await eventually(lambda: open_files() == 0, "the files are closed")


async def test_an_unknown_blob_is_blob_unknown(service, refused) -> None:
    for call in (service.read, service.get, service.delete):
        with refused("BLOB_UNKNOWN") as refusal:
            await call(UNKNOWN)
        assert refusal.detail == {"digest": UNKNOWN}
    with refused("BLOB_UNKNOWN"):
        await service.read(UNKNOWN, 5, 5)


@pytest.mark.parametrize("digest", MALFORMED)
async def test_a_malformed_digest_is_refused(service, refused, digest) -> None:
    for call in (service.read, service.get, service.delete, service.stat):
        with refused("DIGEST_INVALID"):
            await call(digest)
    if digest:
        with refused("DIGEST_INVALID"):
            await service.put(b"x", digest)
    assert await service.stored_paths() == []


async def test_stat_tells_the_size_of_what_is_there_and_leaves_out_the_rest(service, content_of) -> None:
    sizes = [0, 1, 70_000]
    digests = [await service.upload(content_of(size)) for size in sizes]
    assert await service.stat(digests[0], UNKNOWN, *digests[1:]) == dict(zip(digests, sizes, strict=True))
    assert await service.stat() == {}


async def test_stat_keeps_the_order_of_the_request(service, content_of) -> None:
    digests = sorted([await service.upload(content_of(size)) for size in range(1, 40)])
    assert list(await service.stat(*digests)) == digests


async def test_more_than_a_thousand_digests_at_once_are_refused(service, refused) -> None:
    assert await service.stat(*[UNKNOWN] * 1000) == {}
    with refused("SIZE_INVALID"):
        await service.stat(*[UNKNOWN] * 1001)


async def test_small_content_is_put_under_its_canonical_digest(service, path_of, digest_of) -> None:
    descriptor = await service.put(b'{"a":1}')
    assert (descriptor.digest, descriptor.size) == (digest_of(b'{"a":1}'), 7)
    assert await service.stored_paths() == [path_of(descriptor.digest)]
    assert await service.get(descriptor.digest) == b'{"a":1}'


async def test_content_put_with_a_sha512_is_verified_and_stored_under_sha256(service, digest_of) -> None:
    digest = f"sha512:{hashlib.sha512(b'content').hexdigest()}"
    assert (await service.put(b"content", digest)).digest == digest_of(b"content")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_content_that_does_not_match_is_not_put(service, refused, algorithm) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, b'this').hexdigest()}"
    with refused("DIGEST_INVALID") as refusal:
        await service.put(b"that", digest)
    assert refusal.detail["digest"] == digest
    assert await service.stored_paths() == []


async def test_a_put_of_what_is_there_does_not_write_it_again(service, path_of) -> None:
    digest = (await service.put(b"content")).digest
    before = await service.driver.stat(path_of(digest))
    await asyncio.gather(*(service.put(b"content") for _ in range(5)))
    assert await service.driver.stat(path_of(digest)) == before


@pytest.mark.parametrize("torn", [b"", b"cont", b"CONTENT", b"content and more"])
async def test_a_put_heals_a_blob_that_does_not_match_its_digest(service, path_of, torn) -> None:
    digest = (await service.put(b"content")).digest
    await service.driver.put_content(path_of(digest), torn)
    await service.put(b"content")
    assert await service.get(digest) == b"content"


async def test_a_small_blob_that_does_not_match_its_digest_is_not_served(service, path_of, refused) -> None:
    before = REGISTRY.get_sample_value("moorage_blob_corrupt_total")
    digest = (await service.put(b"content")).digest
    await service.driver.put_content(path_of(digest), b"CONTENT")
    with refused("BLOB_UNKNOWN"):
        await service.get(digest)
    assert REGISTRY.get_sample_value("moorage_blob_corrupt_total") == before + 1


async def test_get_refuses_a_blob_larger_than_the_caller_takes(service, content_of, refused) -> None:
    digest = await service.upload(content_of(1000))
    assert await service.get(digest, 1000) == content_of(1000)
    for limit in (999, 0, -1):
        with refused("SIZE_INVALID") as refusal:
            await service.get(digest, limit)
        assert refusal.status == 413
        assert refusal.detail == {"size": 1000}


async def test_content_is_small_up_to_eight_mebibytes(service, content_of, refused) -> None:
    largest = content_of(8 << 20)
    digest = (await service.put(largest)).digest
    assert await service.get(digest, 1 << 40) == largest
    with refused("SIZE_INVALID"):
        await service.put(largest + b"x")
    digest = await service.upload(largest + b"x")
    with refused("SIZE_INVALID"):
        await service.get(digest, 1 << 40)


async def test_a_deleted_blob_is_gone(service, refused) -> None:
    digest = (await service.put(b"content")).digest
    other = (await service.put(b"other")).digest
    await service.delete(digest)
    assert list(await service.stat(digest, other)) == [other]
    with refused("BLOB_UNKNOWN"):
        await service.delete(digest)


async def test_bytes_that_are_read_and_uploaded_are_counted(service, content_of) -> None:
    def counted(name: str) -> float:
        return REGISTRY.get_sample_value(name) or 0.0

    read, uploaded = counted("moorage_blob_read_bytes_total"), counted("moorage_upload_bytes_total")
    digest = await service.upload(content_of(12_345))
    await service.read(digest)
    await service.read(digest, 345)
    assert counted("moorage_upload_bytes_total") == uploaded + 12_345
    assert counted("moorage_blob_read_bytes_total") == read + 12_345 + 12_000
    assert counted("moorage_uploads_open") == 0
