"""Streams that break: what was received is kept, nothing is committed, and the offset tells the truth."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

import grpc
import pytest

from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import rpc_errors
from moorage.v1 import blob_pb2

# Storage that shows what is written before it is flushed: by that these tests see how far a call is.
SHOWN_AT_ONCE = pytest.mark.parametrize("storage", ["filesystem", "inmemory"], indirect=True)


BIG = 4 << 20


def append_header(upload) -> blob_pb2.AppendHeader:
    return blob_pb2.AppendHeader(key=upload.key, offset=upload.offset)


async def free_to_continue(service, upload) -> int:
    """The offset once no call has the upload any more."""
    async with asyncio.timeout(10):
        while True:
            offset = (await service.status(upload)).offset
            try:
                return (await service.append(upload, offset=offset)).offset
            except RegistryError as error:
                if error.code is not ErrorCode.RANGE_INVALID:
                    raise
                await asyncio.sleep(0.02)


@SHOWN_AT_ONCE
async def test_an_append_that_the_caller_cancels_keeps_what_arrived(service, content_of, digest_of) -> None:
    content = content_of(BIG)
    upload = await service.append(await service.start(), content[:1000])
    call = service.uploads.Append(timeout=20)
    await call.write(blob_pb2.AppendRequest(header=append_header(upload)))
    await call.write(blob_pb2.AppendRequest(data=content[1000 : 1 << 20]))
    async with asyncio.timeout(10):
        while (await service.status(upload)).offset != 1 << 20:
            await asyncio.sleep(0.01)
    call.cancel()
    offset = await free_to_continue(service, upload)
    assert offset == 1 << 20
    await service.commit(upload, digest_of(content), content[offset:], offset=offset)


async def test_a_cancelled_append_at_any_moment_leaves_a_true_prefix(service, content_of, digest_of) -> None:
    content = content_of(BIG)
    upload = await service.start()
    offset = 0
    for moment in (0.0, 0.001, 0.003, 0.006, 0.01, 0.02):
        task = asyncio.create_task(service.append(upload, content[offset:], offset=offset))
        await asyncio.sleep(moment)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        offset = await free_to_continue(service, upload)
    await service.commit(upload, digest_of(content), content[offset:], offset=offset)
    assert await service.read(digest_of(content)) == content


@pytest.mark.parametrize("attempt", range(5))
async def test_a_commit_whose_stream_is_cancelled_commits_nothing_and_keeps_the_upload(
    service, content_of, digest_of, attempt
) -> None:
    """The digest would match what has arrived: only that the stream broke says that it is not all."""
    content = content_of(200_000, attempt)
    upload = await service.append(await service.start(), content[:100_000])
    call = service.uploads.Commit(timeout=20)
    header = blob_pb2.CommitHeader(append=append_header(upload), digest=digest_of(content))
    await call.write(blob_pb2.CommitUploadRequest(header=header))
    await call.write(blob_pb2.CommitUploadRequest(data=content[100_000:]))
    call.cancel()
    offset = await free_to_continue(service, upload)
    assert offset in {100_000, 200_000}
    assert await service.stat(digest_of(content)) == {}
    await service.commit(upload, digest_of(content), content[offset:], offset=offset)


_VANISHING_CLIENT = """
import asyncio, os, signal, sys
from moorage.rpc import Address, open_channel
from moorage.v1 import blob_pb2, blob_pb2_grpc

async def main(address, repository, upload_id, digest):
    call = blob_pb2_grpc.UploadsStub(open_channel(Address.parse(address))).Commit(timeout=20)
    append = blob_pb2.AppendHeader(key=blob_pb2.UploadKey(repository=repository, id=upload_id), offset=0)
    await call.write(blob_pb2.CommitUploadRequest(header=blob_pb2.CommitHeader(append=append, digest=digest)))
    await call.write(blob_pb2.CommitUploadRequest(data=b"half of it"))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("attempt", range(5))
async def test_a_commit_whose_caller_is_killed_keeps_the_upload(
    folder_service, tmp_path, digest_of, attempt
) -> None:
    upload = await folder_service.start()
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _VANISHING_CLIENT,
        f"unix://{tmp_path}/1.sock",
        upload.key.repository,
        upload.key.id,
        digest_of(b"half of it and the rest"),
    )
    assert await client.wait() == -signal.SIGKILL
    offset = await free_to_continue(folder_service, upload)
    assert offset in {0, 10}
    rest = b"half of it and the rest"[offset:]
    await folder_service.commit(upload, digest_of(b"half of it and the rest"), rest, offset=offset)


async def test_a_stream_that_falls_silent_is_ended_and_kept(storage, serve, digest_of, refused) -> None:
    service = await serve(storage, "services: {blobtimeout: 200ms}")
    upload = await service.start()

    async def silent():
        yield b"0123"
        await asyncio.sleep(2)

    with refused("UNAVAILABLE") as refusal:
        await service.append(upload, silent())
    assert refusal.detail == "the stream was silent for 0.2 seconds"
    await service.commit(upload, digest_of(b"01234567"), b"4567", offset=4)


async def test_a_deadline_that_passes_keeps_what_arrived(service, digest_of, refused) -> None:
    upload = await service.start()

    async def endless():
        yield b"0123"
        await asyncio.sleep(2)

    with refused("UNAVAILABLE"):
        await service.append(upload, endless(), timeout=0.3)
    assert await free_to_continue(service, upload) == 4
    await service.commit(upload, digest_of(b"0123"), offset=4)


async def test_a_stream_without_a_header_is_refused(service, refused) -> None:
    async def only_data():
        yield blob_pb2.AppendRequest(data=b"x")

    async def nothing():
        for part in ():
            yield part

    for parts in (only_data(), nothing()):
        with refused("BLOB_UPLOAD_INVALID"), rpc_errors():
            await service.uploads.Append(parts, timeout=5)
    with refused("BLOB_UPLOAD_INVALID"), rpc_errors():
        await service.uploads.Commit(nothing(), timeout=5)


async def test_a_second_header_ends_the_stream_and_keeps_what_came_before(service, refused) -> None:
    upload = await service.start()
    header = blob_pb2.AppendRequest(header=append_header(upload))

    async def two_headers():
        yield header
        yield blob_pb2.AppendRequest(data=b"0123")
        yield header

    with refused("BLOB_UPLOAD_INVALID"), rpc_errors():
        await service.uploads.Append(two_headers(), timeout=5)
    assert (await service.status(upload)).offset == 4


async def test_interrupted_appends_leave_no_file_open(folder_service, content_of) -> None:
    content = content_of(BIG)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        upload = await folder_service.start()
        task = asyncio.create_task(folder_service.append(upload, content))
        await asyncio.sleep(0.003)
        task.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await task
        await free_to_continue(folder_service, upload)
    assert len(os.listdir("/proc/self/fd")) <= before + 3


async def test_a_refusal_reaches_a_sender_that_is_in_the_middle_of_its_stream(
    running_service, refused
) -> None:
    """The service answers at once; what the sender has on its way by then does not hide the answer."""
    service, _ = await running_service("http: {limits: {uploadsize: 3000000}}")
    for _ in range(40):
        upload = await service.start()
        with refused("SIZE_INVALID") as refusal:
            await service.append(upload, (bytes(65536) for _ in range(200)))
        assert refusal.status == 413
        with refused("RANGE_INVALID"):
            await service.append(upload, (bytes(65536) for _ in range(200)), offset=5)
