"""What a collection removes, and what it must not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.v1 import metadata_pb2

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

READ_ONLY = "{inmemory: {}, delete: {enabled: true}, maintenance: {readonly: {enabled: true}}}"


async def collect(registry, **options: Any) -> list[metadata_pb2.CollectGarbageResponse]:
    """Collect; every event."""
    request = metadata_pb2.CollectGarbageRequest(**{"force": True, **options})
    return [event async for event in registry.stub.CollectGarbage(request, timeout=30)]


def eligible(events) -> dict[str, set[str]]:
    """The digests that go, by kind."""
    found: dict[str, set[str]] = {"MANIFEST": set(), "BLOB": set(), "LINK": set()}
    for event in events:
        if event.WhichOneof("event") == "eligible":
            kind = metadata_pb2.CollectGarbageResponse.Kind.Name(event.eligible.kind)
            found[kind.removeprefix("KIND_")].add(event.eligible.digest)
    return found


async def blobs(registry) -> set[str]:
    """The digests of all blobs in storage."""
    return {
        f"sha256:{info.path.split('/')[-2]}"
        async for info in registry.driver.walk("/docker/registry/v2/blobs")
        if not info.is_dir
    }


async def index(registry, repository: str, *children: str, tag: str = "", **fields: Any) -> str:
    """Push an index of these manifests; its digest."""
    found = [(await registry.get(repository, child)).descriptor for child in children]
    content = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {"mediaType": each.media_type, "digest": each.digest, "size": each.size} for each in found
            ],
            **fields,
        }
    ).encode()
    if tag:
        return (await registry.put(repository, tag, content, OCI_INDEX)).descriptor.digest
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return (await registry.put(repository, digest, content, OCI_INDEX)).descriptor.digest


async def untagged(registry, repository: str, name: str, **fields: Any) -> str:
    """Push an image by digest alone; its digest."""
    digest = await registry.push(repository, "passing", name, **fields)
    await registry.delete(repository, "passing")
    return digest


class TestWithoutDeleteUntagged:
    async def test_what_a_manifest_needs_stays_and_what_none_needs_goes(self, registry) -> None:
        kept = await registry.push("team/app", "v1")
        gone = await registry.push("team/app", "v2")
        await registry.delete("team/app", gone)
        before = await blobs(registry)
        events = await collect(registry)
        assert await registry.has_manifest("team/app", kept)
        # Its manifest, its configuration and its layer.
        assert len(eligible(events)["BLOB"]) == 3
        assert await blobs(registry) == before - eligible(events)["BLOB"]
        assert eligible(events)["MANIFEST"] == set()
        summary = events[-1].summary
        assert (summary.repositories, summary.marked, summary.blobs, summary.links) == (1, 3, 3, 2)
        assert summary.bytes > 0

    async def test_an_untagged_manifest_stays_with_all_that_it_needs(self, registry) -> None:
        digest = await untagged(registry, "team/app", "one")
        before = await blobs(registry)
        await collect(registry)
        assert await registry.has_manifest("team/app", digest)
        assert await blobs(registry) == before

    async def test_a_blob_that_another_repository_needs_stays_linked_where_it_was(self, registry) -> None:
        await registry.push("team/app", "v1", "same")
        digest = await registry.push_blob("team/other", b"layer of same")
        await collect(registry)
        assert await registry.has_blob("team/other", digest)

    async def test_a_collected_blob_is_unknown_where_it_was_linked_also_when_it_comes_back_elsewhere(
        self, registry
    ) -> None:
        digest = await registry.push_blob("team/alone", b"nobody needs this")
        assert await registry.has_blob("team/alone", digest)
        await collect(registry)
        assert not await registry.has_blob("team/alone", digest)
        await registry.push_blob("team/app", b"nobody needs this")
        assert not await registry.has_blob("team/alone", digest)

    async def test_a_blob_that_is_linked_nowhere_goes(self, registry) -> None:
        digest = await registry.store_bytes(b"never linked")
        assert digest in eligible(await collect(registry))["BLOB"]
        assert await blobs(registry) == set()

    async def test_content_pushed_by_another_algorithm_stays(self, registry, sha) -> None:
        content = await registry.image("team/app", "one", algorithm="sha512")
        digest = sha(content, "sha512")
        await registry.put("team/app", digest, content)
        before = await blobs(registry)
        assert eligible(await collect(registry)) == {"MANIFEST": set(), "BLOB": set(), "LINK": set()}
        assert await registry.has_manifest("team/app", digest)
        assert await blobs(registry) == before

    async def test_layers_of_a_schema_that_is_served_no_more_stay(self, registry, sha) -> None:
        layer = await registry.push_blob("team/old", b"an old layer")
        content = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": layer}]})
        digest = await registry.store_bytes(content.encode())
        hexa = digest.removeprefix("sha256:")
        await registry.write(f"team/old/_manifests/revisions/sha256/{hexa}/link", digest)
        await collect(registry)
        assert await registry.has_blob("team/old", layer)


class TestDeleteUntagged:
    async def test_manifests_without_a_tag_go_with_what_only_they_need(self, registry) -> None:
        kept = await registry.push("team/app", "v1")
        gone = await untagged(registry, "team/app", "gone")
        events = await collect(registry, delete_untagged=True)
        assert eligible(events)["MANIFEST"] == {gone}
        assert not await registry.has_manifest("team/app", gone)
        assert await registry.has_manifest("team/app", kept)
        assert len(await blobs(registry)) == 3

    async def test_children_of_a_tagged_index_stay_however_deep(self, registry) -> None:
        children = [await untagged(registry, "team/app", name) for name in ("one", "two")]
        inner = await index(registry, "team/app", *children)
        await index(registry, "team/app", inner, tag="all")
        events = await collect(registry, delete_untagged=True)
        assert eligible(events)["MANIFEST"] == set()
        for digest in (*children, inner):
            assert await registry.has_manifest("team/app", digest)

    async def test_an_untagged_index_goes_with_its_children(self, registry) -> None:
        child = await untagged(registry, "team/app", "one")
        parent = await index(registry, "team/app", child)
        assert eligible(await collect(registry, delete_untagged=True))["MANIFEST"] == {child, parent}
        assert await blobs(registry) == set()

    async def test_referrers_stay_with_their_subject_and_go_with_it(self, registry) -> None:
        subject = await registry.push("team/app", "v1")
        descriptor = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}
        signature = await untagged(registry, "team/app", "signature", subject=descriptor)
        await collect(registry, delete_untagged=True)
        assert await registry.referrers("team/app", subject) == [signature]
        await registry.delete("team/app", "v1")
        events = await collect(registry, delete_untagged=True)
        assert eligible(events)["MANIFEST"] == {subject, signature}
        assert await registry.referrers("team/app", subject) == []
        assert {path for path in await registry.files("team/app") if "_manifests" in path} == set()

    async def test_nothing_is_left_of_a_tag_that_was_moved_away(self, registry) -> None:
        old = await registry.push("team/app", "latest", "old")
        await registry.push("team/app", "latest", "new")
        await collect(registry, delete_untagged=True)
        hexa = old.removeprefix("sha256:")
        assert not [path for path in await registry.files("team/app") if hexa in path]

    async def test_all_digests_of_a_manifest_go(self, registry, sha) -> None:
        content = await registry.image("team/app", "one", algorithm="sha512")
        await registry.put("team/app", sha(content, "sha512"), content)
        await collect(registry, delete_untagged=True)
        assert not await registry.files("team/app")

    async def test_hundreds_of_manifests_go_in_steps(self, registry) -> None:
        await registry.push("team/app", "v1")
        content = json.loads(await registry.image("team/app", "v1"))
        for number in range(100):
            content["annotations"] = {"number": str(number)}
            await registry.put("team/app", "passing", json.dumps(content).encode())
        await registry.delete("team/app", "passing")
        events = await collect(registry, delete_untagged=True)
        assert events[-1].summary.manifests == 100
        assert len(await blobs(registry)) == 3


class TestSafety:
    async def test_a_dry_run_says_the_same_and_removes_nothing(self, registry) -> None:
        await registry.push("team/app", "v1")
        await untagged(registry, "team/app", "gone")
        before = await registry.files(), await blobs(registry)
        told = await collect(registry, delete_untagged=True, dry_run=True)
        assert (await registry.files(), await blobs(registry)) == before
        assert eligible(await collect(registry, delete_untagged=True)) == eligible(told)

    async def test_a_registry_that_takes_pushes_refuses(self, registry) -> None:
        with pytest.raises(Exception, match="takes pushes"):
            await collect(registry, force=False)

    async def test_a_read_only_registry_collects(self, start) -> None:
        registry = await start(f"storage: {READ_ONLY}")
        digest = await registry.store_bytes(b"garbage")
        assert eligible(await collect(registry, force=False))["BLOB"] == {digest}

    async def test_a_manifest_that_cannot_be_read_stops_it_before_anything_is_removed(self, registry) -> None:
        damaged = await registry.push("team/zoo", "v1")
        await registry.damage_bytes(damaged, b"{}")
        garbage = await registry.store_bytes(b"garbage")
        with pytest.raises(Exception, match="cannot be read"):
            await collect(registry)
        assert garbage in await blobs(registry)

    async def test_a_manifest_without_bytes_is_told_and_keeps_nothing(self, registry) -> None:
        digest = await registry.push("team/app", "v1")
        await registry.lose_bytes(digest)
        events = await collect(registry)
        (missing,) = [event.missing for event in events if event.WhichOneof("event") == "missing"]
        assert (missing.repository, missing.digest) == ("team/app", digest)
        assert await blobs(registry) == set()

    async def test_two_collections_never_run_at_once(self, stack, hooked) -> None:
        go_on, waits = asyncio.Event(), asyncio.Event()

        async def hook(operation: str, path: str) -> None:
            if operation == "list" and path.endswith("/blobs/sha256"):
                waits.set()
                await go_on.wait()

        registry = await stack.registry(hooked(hook))
        digest = await registry.store_bytes(b"garbage")
        first = asyncio.create_task(collect(registry))
        await waits.wait()
        with pytest.raises(Exception, match="under way"):
            await collect(registry)
        go_on.set()
        assert eligible(await first)["BLOB"] == {digest}

    async def test_gateways_are_told_before_a_manifest_goes(self, stack, driver) -> None:
        # Long enough not to run out before the manifest goes.
        registry = await stack.registry(driver, lease="2s")
        digest = await untagged(registry, "team/app", "gone")
        gateway = await stack.gateway(registry)
        assert await gateway.holds("team/app", digest)
        await collect(registry, delete_untagged=True)
        assert digest in (await gateway.revocation()).digests

    async def test_a_cache_does_not_bring_back_what_went(self, start) -> None:
        storage = "{inmemory: {}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}"
        registry = await start(f"storage: {storage}")
        digest = await registry.push_blob("team/app", b"content")
        await registry.push_blob("team/other", b"content")
        assert await registry.has_blob("team/app", digest)
        await collect(registry)
        await registry.push_blob("team/other", b"content")
        assert await registry.has_blob("team/other", digest)
        assert not await registry.has_blob("team/app", digest)


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_reachable_from_a_tag_can_be_pulled_afterwards(registry, data) -> None:
    """Random graphs of images, indexes and referrers: the oracle walks from the tags."""
    await registry.clear()
    graph: dict[str, tuple[list[str], str]] = {}
    tagged: set[str] = set()
    for number in range(data.draw(st.integers(1, 6))):
        fields: dict[str, Any] = {}
        subject = data.draw(st.sampled_from(["", *graph]))
        if subject:
            fields["subject"] = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}
        children = (
            data.draw(st.lists(st.sampled_from(sorted(graph)), max_size=2, unique=True)) if graph else []
        )
        tag = data.draw(st.booleans())
        if children:
            fields["annotations"] = {"number": str(number)}
            digest = await index(registry, "r", *children, tag=f"t{number}" if tag else "", **fields)
        else:
            digest = await registry.push("r", f"t{number}", f"image {number}", **fields)
            if not tag:
                await registry.delete("r", f"t{number}")
        graph[digest] = (children, subject)
        if tag:
            tagged.add(digest)
    expected: set[str] = set()
    waiting = list(tagged)
    while waiting:
        digest = waiting.pop()
        if digest not in expected:
            expected.add(digest)
            waiting += graph[digest][0]
            waiting += [each for each, (_, subject) in graph.items() if subject == digest]
    events = await collect(registry, delete_untagged=True)
    assert eligible(events)["MANIFEST"] == set(graph) - expected
    for digest in graph:
        assert await registry.has_manifest("r", digest) == (digest in expected)
    for digest in expected:
        manifest = json.loads((await registry.get("r", digest)).content)
        for each in (manifest.get("config"), *manifest.get("layers", ())):
            if each:
                assert await registry.has_blob("r", each["digest"])
