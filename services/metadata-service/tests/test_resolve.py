"""Many look-ups in one call: each answered for itself."""

from __future__ import annotations

import asyncio

import pytest

from blob_service.drivers.interface import StorageError
from moorage.digest import Digest
from moorage.v1 import metadata_pb2
from support.atonce import AtOnce

UNKNOWN = "sha256:" + "0" * 64


async def ignore(_operation: str, _path: str) -> None:
    """A hook that does nothing."""


@pytest.fixture
async def gateway(stack, registry):
    return await stack.gateway(registry)


async def test_answers_are_those_of_the_single_calls_in_the_order_of_the_queries(
    registry, gateway, manifest_of, blob_of
) -> None:
    digests = [await registry.push("team/app", f"v{number}") for number in range(5)]
    layer = await registry.push_blob("team/app", b"a layer")
    queries = [blob_of("team/app", layer), *(manifest_of("team/app", f"v{number}") for number in range(5))]
    blob, *manifests = await gateway.resolve(*queries)
    assert blob.blob.descriptor == await registry.stat("team/app", layer)
    assert [each.manifest.descriptor.digest for each in manifests] == digests
    for number, each in enumerate(manifests):
        assert each.manifest == await registry.get("team/app", f"v{number}")


async def test_a_query_may_leave_the_content_out_as_a_single_call_does(
    registry, gateway, manifest_of
) -> None:
    digest = await registry.push("team/app", "v1")
    described, known = await gateway.resolve(
        manifest_of("team/app", "v1", descriptor_only=True), manifest_of("team/app", "v1", known=[digest])
    )
    assert (described.manifest.content, described.manifest.not_modified) == (b"", False)
    assert (known.manifest.content, known.manifest.not_modified) == (b"", True)
    assert described.manifest.descriptor.digest == known.manifest.descriptor.digest == digest


async def test_a_query_that_fails_does_not_fail_the_others(registry, gateway, manifest_of, blob_of) -> None:
    digest = await registry.push("team/app", "v1")
    answers = await gateway.resolve(
        manifest_of("team/app", "no-such-tag"),
        manifest_of("team/app", "v1"),
        blob_of("Team/App", UNKNOWN),
        blob_of("team/app", "sha256:1"),
        blob_of("team/app", UNKNOWN),
        manifest_of("team/app", "-"),
        metadata_pb2.ResolveRequest.Query(),
    )
    assert answers[1].manifest.descriptor.digest == digest
    del answers[1]
    assert [each.failure.errors[0].code for each in answers] == [
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "DIGEST_INVALID",
        "BLOB_UNKNOWN",
        "TAG_INVALID",
        "UNSUPPORTED",
    ]


async def test_a_failure_carries_the_details_of_the_single_call(registry, gateway, blob_of, refused) -> None:
    (answer,) = await gateway.resolve(blob_of("team/app", UNKNOWN))
    with refused("BLOB_UNKNOWN") as refusal:
        await registry.stat("team/app", UNKNOWN)
    assert answer.failure.errors[0].detail_json == f'{{"digest": "{UNKNOWN}"}}'
    assert refusal.detail == {"digest": UNKNOWN}


async def test_storage_that_fails_for_one_query_answers_the_others(stack, hooked, manifest_of) -> None:
    async def fail(path: str) -> None:
        if "/v1/" in path:
            raise StorageError("the disk does not answer")

    storage = hooked(ignore)
    registry = await stack.registry(storage)
    await registry.push("team/app", "v1")
    digest = await registry.push("team/app", "v2")
    gateway = await stack.gateway(registry)
    storage.read_hook = fail
    one, other = await gateway.resolve(manifest_of("team/app", "v1"), manifest_of("team/app", "v2"))
    assert one.failure.errors[0].code == "UNAVAILABLE"
    assert other.manifest.descriptor.digest == digest


async def test_no_queries_have_no_answers_and_too_many_are_refused(gateway, blob_of, refused) -> None:
    assert await gateway.resolve() == []
    assert len(await gateway.resolve(*[blob_of("team/app", UNKNOWN)] * 256)) == 256
    with refused("SIZE_INVALID") as refusal:
        await gateway.resolve(*[blob_of("team/app", UNKNOWN)] * 257)
    assert refusal.detail == {"queries": 257, "limit": 256}


async def test_answers_that_the_reply_has_no_room_for_are_postponed_and_fit_alone(
    stack, driver, manifest_of
) -> None:
    registry = await stack.registry(driver, "http: {limits: {manifestsize: 8MiB}}\n", lease="2s")
    large = 7 * 2**20
    digests = [
        await registry.push("team/app", f"v{number}", annotations={"padding": "x" * large})
        for number in range(3)
    ]
    small = await registry.push("team/app", "small")
    gateway = await stack.gateway(registry)
    queries = [manifest_of("team/app", digest) for digest in digests]
    answers = await gateway.resolve(*queries)
    postponed = [number for number, each in enumerate(answers) if each.HasField("postponed")]
    assert len(postponed) == 1
    assert [each.held for each in answers] == [number not in postponed for number in range(3)]
    (alone,) = await gateway.resolve(queries[postponed[0]])
    assert len(alone.manifest.content) > large
    # A small one is not postponed because large ones are there.
    first, _ = await gateway.resolve(manifest_of("team/app", "small"), queries[0])
    assert first.manifest.descriptor.digest == small


async def test_queries_run_together_but_not_all_of_them(stack, hooked, blob_of) -> None:
    at_once = AtOnce()

    async def count(_path: str) -> None:
        with at_once:
            await asyncio.sleep(0.005)

    storage = hooked(ignore)
    registry = await stack.registry(storage)
    layer = await registry.push_blob("team/app", b"a layer")
    gateway = await stack.gateway(registry)
    storage.read_hook = count
    others = [str(Digest.of(b"%d" % number)) for number in range(99)]
    answers = await gateway.resolve(*[blob_of("team/app", each) for each in (layer, *others)])
    assert [each.HasField("blob") for each in answers] == [True, *[False] * 99]
    assert 2 <= at_once.most <= 16
