from __future__ import annotations

import pytest

READ_ONLY = "{inmemory: {}, delete: {enabled: true}, maintenance: {readonly: {enabled: true}}}"
NO_DELETE = "{inmemory: {}}"


@pytest.fixture
async def content(registry) -> tuple[bytes, str]:
    """A manifest that is in the storage under the tag v1, and its digest."""
    content = await registry.image("team/app")
    return content, (await registry.put("team/app", "v1", content)).descriptor.digest


def adding(registry, content: bytes, digest: str, blob: str) -> list:
    return [
        lambda: registry.put("team/app", "v2", content),
        lambda: registry.put("team/app", digest, content, tags=["v2"]),
        lambda: registry.link("team/new", blob),
        lambda: registry.mount("team/new", "team/app", blob),
    ]


def deleting(registry, digest: str, blob: str) -> list:
    return [
        lambda: registry.delete("team/app", "v1"),
        lambda: registry.delete("team/app", digest),
        lambda: registry.delete("team/app", "unknown"),
        lambda: registry.unlink("team/app", blob),
    ]


async def refuse_all(registry, refused, calls: list) -> None:
    before = await registry.files()
    for call in calls:
        with refused("UNSUPPORTED") as refusal:
            await call()
        assert refusal.status == 405
    assert await registry.files() == before


async def test_a_read_only_registry_refuses_every_change(start, registry, content, refused) -> None:
    manifest, digest = content
    blob = await registry.push_blob("team/app", b"layer")
    read_only = await start(f"storage: {READ_ONLY}")
    calls = adding(read_only, manifest, digest, blob) + deleting(read_only, digest, blob)
    await refuse_all(read_only, refused, calls)
    assert (await read_only.get("team/app", "v1")).content == manifest
    assert await read_only.has_blob("team/app", blob)


async def test_a_registry_without_deletion_refuses_every_delete_and_takes_pushes(
    start, registry, content, refused
) -> None:
    # CVE-2026-41888: deleting by tag was not asked about.
    manifest, digest = content
    blob = await registry.push_blob("team/app", b"layer")
    keeping = await start(f"storage: {NO_DELETE}")
    await refuse_all(keeping, refused, deleting(keeping, digest, blob))
    for call in adding(keeping, manifest, digest, blob):
        await call()
