"""`kill -9` of the service at any moment: what was acknowledged is there, and no blob holds wrong bytes."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from moorage.errors import ErrorCode, RegistryError


async def pushes(service, seed: int, acknowledged: dict, uploads: list) -> None:
    """Push blob after blob, in pieces, and note what was acknowledged, until the service is gone."""
    chance = random.Random(seed)
    while True:
        content = chance.randbytes(chance.choice([0, 1, 5_000, 200_000, 1_500_000]))
        upload = await service.start(f"team/{seed % 3}")
        record = [upload, content, 0]
        uploads.append(record)
        while upload.offset < len(content):
            size = chance.randint(1, len(content) - upload.offset)
            upload = await service.append(upload, content[upload.offset : upload.offset + size])
            record[2] = upload.offset
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        record[2] = None  # Whether the commit has happened is open until it is acknowledged.
        descriptor = await service.commit(upload, digest)
        acknowledged[descriptor.digest] = content
        uploads.remove(record)
        manifest = b'{"size":%d}' % len(content)
        acknowledged[(await service.put(manifest)).digest] = manifest


def blobs_with_wrong_content(root: Path) -> list[Path]:
    files = list((root / "docker/registry/v2/blobs").glob("sha256/*/*/data"))
    return [file for file in files if hashlib.sha256(file.read_bytes()).hexdigest() != file.parent.name]


@pytest.mark.parametrize("attempt", range(20))
async def test_a_kill_at_any_moment_loses_nothing_acknowledged(running_service, tmp_path, attempt) -> None:
    service, process = await running_service()
    acknowledged: dict[str, bytes] = {}
    uploads: list = []
    pushers = [
        asyncio.create_task(pushes(service, attempt * 10 + n, acknowledged, uploads)) for n in range(3)
    ]
    await asyncio.sleep(random.Random(attempt).uniform(0.01, 0.5))
    process.kill()
    for result in await asyncio.gather(*pushers, return_exceptions=True):
        assert isinstance(result, RegistryError), result
        assert result.code is ErrorCode.UNAVAILABLE, repr(result.__cause__)
    assert blobs_with_wrong_content(tmp_path / "registry") == []
    service, _ = await running_service()
    for digest, content in acknowledged.items():
        assert await service.read(digest) == content
    for upload, content, offset in uploads:
        if offset is None:
            continue
        status = await service.status(upload)
        assert status.offset >= offset
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        await service.commit(status, digest, content[status.offset :])
        assert await service.read(digest) == content


async def test_a_kill_between_the_move_and_the_answer_leaves_the_blob_and_no_upload(
    running_service, tmp_path, content_of, digest_of, refused
) -> None:
    """What a crash there leaves: the data at its address, and a folder with nothing but `startedat`."""
    service, _ = await running_service()
    content = content_of(1000)
    upload = await service.append(await service.start(), content)
    registry = tmp_path / "registry/docker/registry/v2"
    folder = registry / "repositories/library/ubuntu/_uploads" / upload.key.id
    address = registry / "blobs/sha256" / digest_of(content)[7:9] / digest_of(content)[7:]
    address.mkdir(parents=True)
    (folder / "data").rename(address / "data")
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await service.commit(upload, digest_of(content))
    assert await service.upload(content) == digest_of(content)
    assert await service.read(digest_of(content)) == content
