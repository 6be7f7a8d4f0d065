"""Calls that meet on one upload: in one process, in two, and on an instance that did not begin it."""

from __future__ import annotations

import asyncio

import pytest

from blob_service.blobs import Blobs
from blob_service.drivers import filesystem
from blob_service.hashing import new_executor
from blob_service.layout import UploadKey
from blob_service.uploads import Uploads
from moorage.errors import ErrorCode, RegistryError

# Storage that shows what is written before it is flushed: by that these tests see how far a call is.
SHOWN_AT_ONCE = pytest.mark.parametrize("storage", ["filesystem", "inmemory"], indirect=True)


async def outcomes(*calls):
    """For each call "won", or the code that it was refused with."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, RegistryError):
            raise result
    return [result.code.name if isinstance(result, RegistryError) else "won" for result in results]


async def reached(service, upload, offset: int) -> None:
    """Wait until an append that is under way has stored so much."""
    async with asyncio.timeout(10):
        while (await service.status(upload)).offset != offset:
            await asyncio.sleep(0.01)


async def test_of_two_appends_at_one_offset_exactly_one_wins(service, content_of, digest_of) -> None:
    for attempt in range(10):
        content = content_of(300_000, attempt)
        upload = await service.append(await service.start(), content[:100_000])
        chunk = content[100_000:]
        results = await outcomes(service.append(upload, chunk), service.append(upload, chunk))
        assert sorted(results) == ["RANGE_INVALID", "won"]
        assert (await service.status(upload)).offset == 300_000
        await service.commit(upload, digest_of(content), offset=300_000)


@SHOWN_AT_ONCE
async def test_a_second_append_waits_for_the_first_and_learns_its_outcome(service, refused) -> None:
    upload = await service.start()
    more = asyncio.Event()

    async def slowly():
        yield b"01"
        await more.wait()
        yield b"23"

    first = asyncio.create_task(service.append(upload, slowly()))
    await reached(service, upload, 2)
    second = asyncio.create_task(service.append(upload, b"XX"))
    await asyncio.sleep(0.1)
    assert not second.done()
    more.set()
    assert (await first).offset == 4
    with refused("RANGE_INVALID") as refusal:
        await second
    assert refusal.detail == {"offset": 4}


@SHOWN_AT_ONCE
async def test_status_waits_for_nobody(service) -> None:
    upload = await service.start()
    more = asyncio.Event()

    async def slowly():
        yield b"0123"
        await more.wait()

    append = asyncio.create_task(service.append(upload, slowly()))
    await reached(service, upload, 4)
    more.set()
    await append


@SHOWN_AT_ONCE
async def test_a_call_that_waits_too_long_for_an_upload_is_refused(storage) -> None:
    executor = new_executor()
    uploads = Uploads(storage, Blobs(storage, executor), executor, lock_seconds=0.1)
    key = (await uploads.start(UploadKey.new("a/b"), "sha256")).key
    more = asyncio.Event()

    async def slowly():
        yield b"0123"
        await more.wait()

    append = asyncio.create_task(uploads.append(key, 0, slowly(), length=None))
    async with asyncio.timeout(10):
        while (await uploads.status(key)).offset != 4:
            await asyncio.sleep(0.01)
    with pytest.raises(RegistryError) as caught:
        await uploads.cancel(key, 0)
    assert caught.value.code is ErrorCode.RANGE_INVALID
    assert caught.value.entries[0].detail == {"offset": 4}
    more.set()
    assert (await append).offset == 4
    await uploads.cancel(key, 4)
    executor.shutdown()


async def test_an_upload_that_another_process_has_is_refused_with_its_offset(
    folder_storage, serve, tmp_path, refused
) -> None:
    """Two drivers on one folder hold each other off by the file's lock, as two processes do."""
    other = filesystem.create({"rootdirectory": str(tmp_path / "registry")})
    here, there = await serve(folder_storage), await serve(other)
    upload = await here.append(await here.start(), b"01")
    more = asyncio.Event()

    async def slowly():
        yield b"23"
        await more.wait()

    append = asyncio.create_task(here.append(upload, slowly()))
    await reached(there, upload, 4)
    for call in (there.append(upload, b"XX", offset=4), there.cancel(upload, offset=4)):
        with refused("RANGE_INVALID") as refusal:
            await call
        assert refusal.detail == {"offset": 4}
    more.set()
    assert (await append).offset == 4
    await there.append(upload, b"45", offset=4)
    await other.close()


async def test_another_instance_continues_an_upload(storage, serve, content_of, digest_of) -> None:
    content = content_of(900_000)
    here, there = await serve(storage), await serve(storage)
    upload = await here.append(await here.start(), content[:300_000])
    upload = await there.append(upload, content[300_000:600_000])
    await there.commit(upload, digest_of(content), content[600_000:])
    assert await here.read(digest_of(content)) == content


async def test_instances_that_take_turns_never_mistake_what_they_hashed(
    storage, serve, content_of, digest_of, refused
) -> None:
    content = content_of(500_000)
    instances = [await serve(storage), await serve(storage)]
    for flipped in (False, True):
        upload = await instances[0].start()
        for turn in range(5):
            part = bytearray(content[turn * 100_000 : (turn + 1) * 100_000])
            if flipped and turn == 3:
                part[5] ^= 1
            upload = await instances[turn % 2].append(upload, bytes(part))
        if flipped:
            with refused("DIGEST_INVALID"):
                await instances[0].commit(upload, digest_of(content))
        else:
            await instances[0].commit(upload, digest_of(content))
    assert await instances[1].read(digest_of(content)) == content


async def test_a_commit_and_an_append_of_two_processes_never_mix(
    folder_storage, serve, tmp_path, content_of, digest_of
) -> None:
    other = filesystem.create({"rootdirectory": str(tmp_path / "registry")})
    here, there = await serve(folder_storage), await serve(other)
    for attempt in range(25):
        content = content_of(70_000, attempt)
        upload = await here.append(await here.start(), content)
        committed, appended = await outcomes(
            here.commit(upload, digest_of(content)), there.append(upload, b"more")
        )
        if committed == "won":
            assert appended in {"RANGE_INVALID", "BLOB_UPLOAD_UNKNOWN"}
            assert await there.read(digest_of(content)) == content
        else:
            assert (committed, appended) == ("RANGE_INVALID", "won")
            assert (await here.status(upload)).offset == len(content) + 4
    await other.close()


async def test_many_pushes_of_one_blob_at_once_store_it_once(service, content_of, path_of, digest_of) -> None:
    content = content_of(400_000)
    digests = await asyncio.gather(*(service.upload(content, f"team/{number}") for number in range(12)))
    assert set(digests) == {digest_of(content)}
    assert await service.stored_paths() == [path_of(digests[0])]
    assert await service.read(digests[0]) == content
