"""BlobStore.List: every blob's digest, page by page."""

from __future__ import annotations

import pytest

from moorage.errors import RegistryError
from moorage.rpc import unary
from moorage.v1 import blob_pb2


async def page(service, after: str = "", limit: int = 0) -> tuple[list[str], bool]:
    request = blob_pb2.ListBlobsRequest(after=after, limit=limit)
    reply = await unary(service.blobs.List, request, timeout=20)
    return list(reply.digests), reply.more


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_hold_every_digest_once_and_in_order(service, limit: int) -> None:
    digests = sorted([(await service.put(f"content {number}".encode())).digest for number in range(30)])
    found: list[str] = []
    more = True
    while more:
        some, more = await page(service, found[-1] if found else "", limit)
        assert len(some) <= limit
        found += some
    assert found == digests


async def test_an_empty_storage_has_an_empty_page(service) -> None:
    assert await page(service) == ([], False)


async def test_what_is_no_blob_is_left_out(service) -> None:
    digest = (await service.put(b"content")).digest
    await service.driver.put_content("/docker/registry/v2/blobs/sha256/zz/no-digest/data", b"")
    await service.driver.put_content("/docker/registry/v2/blobs/sha256/00/1234/data", b"")
    assert await page(service) == ([digest], False)


async def test_a_deleted_blob_is_left_out(service) -> None:
    digest = (await service.put(b"content")).digest
    await service.delete(digest)
    assert await page(service) == ([], False)


async def test_a_negative_limit_is_refused(service) -> None:
    with pytest.raises(RegistryError, match="PAGINATION_NUMBER_INVALID"):
        await page(service, limit=-1)
