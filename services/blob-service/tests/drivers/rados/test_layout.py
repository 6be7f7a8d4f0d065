"""What is in the pool: the layout of distribution's RADOS driver, and what became of its defects."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest
import rados

from blob_service.drivers.interface import DriverError, StorageDriver

STRIPE = 64 << 10


class Objects(Protocol):
    """See conftest.py."""

    context: Any
    names: Callable[..., list[str]]
    stripes: Callable[[], dict[int, int]]
    entries: Callable[[str], dict[str, str]]
    total_size: Callable[[str], bytes]
    set_entries: Callable[..., None]
    store_as_the_original: Callable[[str, bytes, int], None]


async def read(driver: StorageDriver, path: str, offset: int = 0, length: int | None = None) -> bytes:
    async with await driver.reader(path, offset, length=length) as reader:
        return b"".join([chunk async for chunk in reader])


async def write(driver: StorageDriver, path: str, content: bytes) -> None:
    async with await driver.writer(path) as writer:
        await writer.write(content)
        await writer.commit()


async def test_a_folder_is_an_omap_of_names_and_a_file_is_stripes_under_an_opaque_name(
    driver: StorageDriver, objects: Objects
) -> None:
    content = random.Random(1).randbytes(2 * STRIPE + 100)
    await write(driver, "/docker/registry/data", content)

    assert objects.entries("/") == {"docker": ""}
    assert objects.entries("/docker") == {"registry": ""}
    data = objects.entries("/docker/registry")["data"]
    assert data.startswith("blob:")
    assert objects.names("blob:") == [f"{data}-{number}" for number in range(3)]
    assert objects.total_size(data) == len(content).to_bytes(8, "little") + b"\0\0"
    assert b"".join(objects.context.read(f"{data}-{number}", STRIPE) for number in range(3)) == content


async def test_content_that_the_original_driver_stored_is_read(
    driver: StorageDriver, objects: Objects
) -> None:
    content = random.Random(2).randbytes(3 * STRIPE + 5)
    objects.store_as_the_original("blob:6f1c", content, STRIPE)
    objects.set_entries("/a", b="blob:6f1c")
    objects.set_entries("/", a="")

    assert await driver.get_content("/a/b") == content
    assert await read(driver, "/a/b", STRIPE - 1, 2) == content[STRIPE - 1 : STRIPE + 1]
    assert (await driver.stat("/a/b")).size == len(content)
    assert await driver.list("/") == ["/a"]
    await driver.delete("/a")
    assert objects.names() == []


@pytest.mark.parametrize("before", [0, 1, STRIPE - 1, STRIPE, STRIPE + 1, 2 * STRIPE, 3 * STRIPE - 7])
@pytest.mark.parametrize("added", [1, STRIPE // 4 * 3, STRIPE, 2 * STRIPE + 3])
async def test_an_append_at_any_offset_keeps_the_stripes_aligned(
    driver: StorageDriver, objects: Objects, before: int, added: int
) -> None:
    content = random.Random(before + added).randbytes(before + added)
    async with await driver.writer("/upload") as writer:
        await writer.write(content[:before])
    async with await driver.writer("/upload", append=True) as writer:
        assert writer.size == before
        await writer.write(content[before:])
        await writer.commit()

    whole, rest = divmod(len(content), STRIPE)
    expected = [STRIPE] * whole + ([rest] if rest else [])
    assert objects.stripes() == dict(enumerate(expected))
    assert await driver.get_content("/upload") == content


async def test_flushes_within_a_stripe_write_only_what_is_new(
    driver: StorageDriver, objects: Objects
) -> None:
    content = random.Random(3).randbytes(2 * STRIPE)
    async with await driver.writer("/upload") as writer:
        for start in range(0, len(content), STRIPE // 4 + 1):
            await writer.write(content[start : start + STRIPE // 4 + 1])
            await writer.flush()
            assert (await driver.stat("/upload")).size == writer.size
        await writer.commit()
    assert objects.stripes() == {0: STRIPE, 1: STRIPE}
    assert await driver.get_content("/upload") == content


async def test_an_empty_file_is_there(driver: StorageDriver, objects: Objects) -> None:
    await driver.put_content("/empty", b"")
    assert objects.stripes() == {0: 0}
    assert (await driver.stat("/empty")).size == 0
    assert await driver.get_content("/empty") == b""


async def test_what_replaces_a_longer_file_leaves_none_of_its_stripes(
    driver: StorageDriver, objects: Objects
) -> None:
    await driver.put_content("/a", bytes(5 * STRIPE))
    await driver.put_content("/a", b"short")
    assert objects.stripes() == {0: 5}
    await driver.put_content("/b", bytes(4 * STRIPE))
    await driver.move("/a", "/b")
    assert objects.stripes() == {0: 5}
    await write(driver, "/b", bytes(3 * STRIPE))
    assert objects.stripes() == {0: STRIPE, 1: STRIPE, 2: STRIPE}
    await driver.delete("/b")
    assert objects.names() == []


async def test_a_move_copies_nothing(driver: StorageDriver, objects: Objects) -> None:
    await write(driver, "/_uploads/1/data", bytes(3 * STRIPE))
    before = objects.names("blob:")
    await driver.move("/_uploads/1/data", "/blobs/aa/data")
    assert objects.names("blob:") == before
    assert objects.entries("/blobs/aa")["data"] == before[0].rpartition("-")[0]


async def test_a_moved_file_can_be_moved_back_and_deleted(driver: StorageDriver, objects: Objects) -> None:
    await write(driver, "/a", bytes(2 * STRIPE))
    for _ in range(3):
        await driver.move("/a", "/b")
        await driver.move("/b", "/a")
    await driver.delete("/a")
    assert objects.names() == []


async def test_files_keep_the_stripes_that_they_were_written_with(
    open_driver: Callable[..., StorageDriver], objects: Objects
) -> None:
    small, large = open_driver(), open_driver(chunksize=4 * STRIPE)
    content = random.Random(4).randbytes(20 * STRIPE)
    for other, one in ((small, large), (large, small)):
        await write(one, "/file", content[: 9 * STRIPE + 3])
        assert await read(other, "/file") == content[: 9 * STRIPE + 3]
        async with await one.writer("/file") as writer:
            await writer.write(content[: 9 * STRIPE + 3])
        async with await other.writer("/file", append=True) as writer:
            await writer.write(content[9 * STRIPE + 3 :])
            await writer.commit()
        assert await read(one, "/file") == content
        assert await read(other, "/file") == content
        await other.delete("/file")
        assert objects.names() == []


async def test_a_folder_of_more_names_than_an_osd_lists_at_once_is_listed_whole(
    driver: StorageDriver, objects: Objects
) -> None:
    await driver.put_content("/tags/first/link", b"x")
    data = objects.entries("/tags/first")["link"]
    numbers = range(3000)
    for start in range(0, len(numbers), 1000):
        objects.set_entries("/tags", **{f"t{number:05}": "" for number in numbers[start : start + 1000]})
    objects.set_entries("/tags/t02999", link=data)
    names = [f"/tags/t{number:05}" for number in numbers]
    assert await driver.list("/tags") == ["/tags/first", *names]
    assert await driver.list("/tags", after="t01500", limit=1400) == names[1501:2901]
    assert await driver.list("/tags", having="link", limit=2) == ["/tags/first", "/tags/t02999"]


async def test_a_file_that_lost_a_stripe_fails_and_does_not_end_early(
    driver: StorageDriver, objects: Objects
) -> None:
    await write(driver, "/file", bytes(4 * STRIPE))
    name = objects.names("blob:")[2]
    objects.context.trunc(name, 10)
    with pytest.raises(DriverError, match="stripe 2 is 65526 bytes shorter"):
        await read(driver, "/file")
    objects.context.remove_object(name)
    with pytest.raises(DriverError, match="stripe 2 was removed or is lost"):
        await read(driver, "/file")
    objects.context.remove_object(objects.names("blob:")[0])
    with pytest.raises(DriverError, match=r"its data .* is lost"):
        await driver.stat("/file")


async def test_a_file_is_not_put_where_a_folder_is_nor_below_a_file(
    driver: StorageDriver, objects: Objects, check: Callable[..., Awaitable[list[Any]]]
) -> None:
    await driver.put_content("/a/b", b"x")
    before = objects.names()
    for refused in (
        driver.put_content("/a", b"y"),
        driver.put_content("/a/b/c/d", b"y"),
        driver.move("/a/b", "/a/b/c"),
        driver.writer("/a"),
        driver.writer("/a/b/c"),
    ):
        with pytest.raises(DriverError):
            await refused
    assert objects.names() == before
    assert await check() == []


async def test_a_file_is_as_old_as_its_content_whoever_opens_closes_or_moves_it(
    driver: StorageDriver, objects: Objects
) -> None:
    await (await driver.writer("/upload")).close()
    data = objects.entries("/")["upload"]
    with rados.WriteOpCtx() as operation:
        operation.set_xattr("any", b"")
        objects.context.operate_write_op(operation, f"{data}-0", mtime=1_000_000)
    assert (await driver.stat("/upload")).modified_ns == 1_000_000 * 10**9
    await (await driver.writer("/upload", append=True)).close()
    await driver.move("/upload", "/moved")
    assert (await driver.stat("/moved")).modified_ns == 1_000_000 * 10**9
    async with await driver.writer("/moved", append=True) as writer:
        await writer.write(b"x")
        await writer.commit()
    assert (await driver.stat("/moved")).modified_ns > 1_000_000 * 10**9
