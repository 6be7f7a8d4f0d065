"""Looking up manifests and links against a metadata service that is played."""

from __future__ import annotations

import asyncio

import pytest

from api_gateway.clients.lookups import Lookups
from api_gateway.memory import LinkedBlob, Manifest, Memory, holding
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import error_details
from moorage.v1 import common_pb2, metadata_pb2

DIGEST = "sha256:" + "a" * 64
ALIAS = "sha512:" + "c" * 128
TYPE = "application/vnd.oci.image.manifest.v1+json"
Answer = metadata_pb2.ResolveResponse.Answer


def manifest_answer(content: bytes = b"{}", *, held: bool = True) -> metadata_pb2.ResolveResponse.Answer:
    descriptor = common_pb2.Descriptor(media_type=TYPE, digest=DIGEST, size=len(content))
    response = metadata_pb2.GetManifestResponse(descriptor=descriptor, content=content)
    return Answer(manifest=response, held=held)


def blob_answer(*, held: bool = True) -> metadata_pb2.ResolveResponse.Answer:
    descriptor = common_pb2.Descriptor(media_type="application/octet-stream", digest=DIGEST, size=5)
    return Answer(blob=metadata_pb2.StatBlobResponse(descriptor=descriptor), held=held)


def failure(error: RegistryError) -> metadata_pb2.ResolveResponse.Answer:
    return Answer(failure=metadata_pb2.ResolveResponse.Failure(errors=error_details(error)))


@pytest.fixture
def memory() -> Memory:
    return Memory(1 << 20)


@pytest.fixture
async def lookups(played_metadata, metadata_channel, memory: Memory):
    """Look-ups without a lease, where every tag and blob is there."""
    played_metadata.answer = lambda query: (
        blob_answer() if query.HasField("blob") else manifest_answer(query.manifest.reference.tag.encode())
    )
    lookups = Lookups(metadata_channel, memory, timeout=5, grace=2.5)
    yield lookups
    await lookups.close()


@pytest.fixture
async def leased(played_metadata, metadata_channel, memory: Memory, lookups: Lookups):
    """The stream of a lease under which look-ups are kept."""
    async with holding(metadata_channel, memory):
        stream = await played_metadata.stream()
        await stream.requests("renew")
        stream.grant("of this test", 3600)
        async with asyncio.timeout(10):
            while not memory.is_leased:
                await asyncio.sleep(0.002)
        yield stream


async def test_a_manifest_and_a_link_are_what_the_service_says(lookups: Lookups, played_metadata) -> None:
    manifest, blob = await asyncio.gather(lookups.manifest("a", "v1", "x/y,z/*"), lookups.blob("a", ALIAS))
    assert manifest == Manifest.of(DIGEST, TYPE, b"v1")
    assert blob == LinkedBlob.of(ALIAS, DIGEST, 5)
    (call,) = played_metadata.resolved
    assert list(call.queries[0].manifest.accept) == ["x/y", "z/*"]
    assert call.queries[1].blob.digest == ALIAS
    assert call.lease == ""


async def test_by_digest_the_digest_that_was_asked_for_is_answered(lookups: Lookups, played_metadata) -> None:
    manifest = await lookups.manifest("a", ALIAS, "")
    assert manifest.digest == ALIAS
    query = played_metadata.resolved[0].queries[0].manifest
    assert (query.reference.digest, list(query.accept)) == (ALIAS, [])


async def test_what_is_looked_up_in_one_tick_is_one_call_and_equal_ones_are_one_query(
    lookups: Lookups, played_metadata
) -> None:
    found = await asyncio.gather(*(lookups.manifest("a", f"v{number % 3}", "") for number in range(12)))
    assert [each.content for each in found] == [b"v0", b"v1", b"v2"] * 4
    assert [len(call.queries) for call in played_metadata.resolved] == [3]


async def test_a_look_up_never_joins_one_that_was_sent(lookups: Lookups, played_metadata) -> None:
    played_metadata.may_answer.clear()
    first = asyncio.ensure_future(lookups.manifest("a", "v1", ""))
    await played_metadata.calls(1)
    second = asyncio.ensure_future(lookups.manifest("a", "v1", ""))
    await played_metadata.calls(2)
    played_metadata.may_answer.set()
    assert await first == await second


async def test_a_call_has_at_most_256_queries(lookups: Lookups, played_metadata) -> None:
    found = await asyncio.gather(*(lookups.manifest("a", f"v{number}", "") for number in range(600)))
    assert [each.content for each in found] == [f"v{number}".encode() for number in range(600)]
    assert sorted(len(call.queries) for call in played_metadata.resolved) == [88, 256, 256]


async def test_a_call_is_never_larger_than_a_message_may_be(lookups: Lookups, played_metadata) -> None:
    accept = "x/" + "y" * 1_000_000
    await asyncio.gather(*(lookups.manifest("a", f"v{number}", accept) for number in range(20)))
    assert sum(len(call.queries) for call in played_metadata.resolved) == 20
    assert max(call.ByteSize() for call in played_metadata.resolved) < 8 << 20


async def test_a_query_that_fails_fails_only_those_who_asked(lookups: Lookups, played_metadata) -> None:
    unknown = RegistryError(ErrorCode.MANIFEST_UNKNOWN, {"tag": "v2"}, message="not here")
    played_metadata.answer = lambda query: (
        failure(unknown) if query.manifest.reference.tag == "v2" else manifest_answer()
    )
    asked = (lookups.manifest("a", tag, "") for tag in ("v1", "v2", "v3", "v2"))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(each, Manifest) for each in results] == [True, False, True, False]
    for error in (results[1], results[3]):
        assert error.entries == unknown.entries


@pytest.mark.parametrize("answer", [Answer(), blob_answer()])
async def test_an_answer_to_another_question_is_a_fault(lookups: Lookups, played_metadata, answer) -> None:
    played_metadata.answer = lambda query: (
        answer if query.manifest.reference.tag == "v1" else manifest_answer()
    )
    results = await asyncio.gather(
        lookups.manifest("a", "v1", ""), lookups.manifest("a", "v2", ""), return_exceptions=True
    )
    assert results[0].code is ErrorCode.UNKNOWN
    assert isinstance(results[1], Manifest)


async def test_a_call_that_fails_fails_all_who_wait_and_the_next_one_is_made(
    lookups: Lookups, played_metadata
) -> None:
    works = played_metadata.answer

    def fail(query):
        raise RegistryError(ErrorCode.UNAVAILABLE, "the storage failed")

    played_metadata.answer = fail
    results = await asyncio.gather(
        lookups.manifest("a", "v1", ""), lookups.blob("a", DIGEST), return_exceptions=True
    )
    assert [each.code for each in results] == [ErrorCode.UNAVAILABLE] * 2
    played_metadata.answer = works
    assert (await lookups.manifest("a", "v1", "")).content == b"v1"


async def test_a_call_that_takes_too_long_is_unavailable(played_metadata, metadata_channel, memory) -> None:
    played_metadata.answer = lambda query: manifest_answer()
    played_metadata.may_answer.clear()
    lookups = Lookups(metadata_channel, memory, timeout=0.2, grace=2.5)
    with pytest.raises(RegistryError) as raised:
        await lookups.manifest("a", "v1", "")
    assert raised.value.code is ErrorCode.UNAVAILABLE


async def test_what_is_postponed_is_asked_for_alone(lookups: Lookups, leased, played_metadata) -> None:
    together = lambda: len(played_metadata.resolved[-1].queries) > 1  # noqa: E731
    played_metadata.answer = lambda query: (
        Answer(postponed=metadata_pb2.ResolveResponse.Postponed())
        if query.manifest.reference.tag != "v0" and together()
        else manifest_answer(query.manifest.reference.tag.encode())
    )
    found = await asyncio.gather(*(lookups.manifest("a", f"v{number}", "") for number in range(4)))
    assert [each.content for each in found] == [b"v0", b"v1", b"v2", b"v3"]
    assert [len(call.queries) for call in played_metadata.resolved] == [4, 1, 1, 1]
    await lookups.manifest("a", "v3", "")
    assert len(played_metadata.resolved) == 4


async def test_a_service_that_postpones_for_ever_is_asked_twice(lookups: Lookups, played_metadata) -> None:
    played_metadata.answer = lambda query: Answer(postponed=metadata_pb2.ResolveResponse.Postponed())
    with pytest.raises(RegistryError) as raised:
        await lookups.manifest("a", "v1", "")
    assert raised.value.code is ErrorCode.UNKNOWN
    assert len(played_metadata.resolved) == 2


async def test_one_who_gives_up_leaves_the_others_their_answer(lookups: Lookups, played_metadata) -> None:
    played_metadata.may_answer.clear()
    first, second = (asyncio.ensure_future(lookups.manifest("a", "v1", "")) for _ in range(2))
    await played_metadata.calls(1)
    first.cancel()
    await asyncio.wait([first])
    played_metadata.may_answer.set()
    assert (await second).content == b"v1"
    assert len(played_metadata.resolved) == 1


async def test_those_who_wait_when_the_gateway_stops_are_told(lookups: Lookups, played_metadata) -> None:
    played_metadata.may_answer.clear()
    asking = asyncio.ensure_future(lookups.manifest("a", "v1", ""))
    await played_metadata.calls(1)
    await lookups.close()
    with pytest.raises(RegistryError) as raised:
        await asking
    assert raised.value.code is ErrorCode.UNAVAILABLE


# Under a lease


async def test_what_is_held_is_asked_for_once(lookups: Lookups, leased, played_metadata) -> None:
    for _ in range(3):
        assert (await lookups.manifest("a", "v1", "")).content == b"v1"
        assert (await lookups.blob("a", DIGEST)).size == 5
    assert [call.lease for call in played_metadata.resolved] == ["of this test"] * 2


async def test_a_repository_a_tag_or_an_accept_header_that_differs_is_another_question(
    lookups: Lookups, leased, played_metadata
) -> None:
    for asked in [("a", "v1", ""), ("a", "v2", ""), ("b", "v1", ""), ("a", "v1", "x/y")] * 2:
        await lookups.manifest(*asked)
    assert len(played_metadata.resolved) == 4


async def test_what_is_not_held_or_failed_is_asked_for_each_time(
    lookups: Lookups, leased, played_metadata
) -> None:
    played_metadata.answer = lambda query: (
        manifest_answer(held=False)
        if query.HasField("manifest")
        else failure(RegistryError(ErrorCode.BLOB_UNKNOWN))
    )
    for _ in range(2):
        await lookups.manifest("a", "v1", "")
        with pytest.raises(RegistryError):
            await lookups.blob("a", DIGEST)
    assert len(played_metadata.resolved) == 4


async def test_an_answer_that_a_revocation_overtook_is_given_and_not_kept(
    lookups: Lookups, leased, played_metadata
) -> None:
    played_metadata.may_answer.clear()
    asking = [asyncio.ensure_future(lookups.manifest(name, "v1", "")) for name in ("a", "b")]
    await played_metadata.calls(1)
    leased.revoke(1, "a", tags=["v1"])
    await leased.requests("confirm")
    played_metadata.may_answer.set()
    assert [(await each).content for each in asking] == [b"v1", b"v1"]
    await lookups.manifest("b", "v1", "")
    assert len(played_metadata.resolved) == 1
    await lookups.manifest("a", "v1", "")
    assert len(played_metadata.resolved) == 2


async def test_an_answer_whose_lease_ended_is_given_and_not_kept(
    lookups: Lookups, leased, played_metadata, memory: Memory
) -> None:
    played_metadata.may_answer.clear()
    asking = asyncio.ensure_future(lookups.manifest("a", "v1", ""))
    await played_metadata.calls(1)
    leased.end()
    again = await played_metadata.stream()
    await again.requests("renew")
    again.grant("another", 3600)
    await asyncio.sleep(0.1)
    played_metadata.may_answer.set()
    assert (await asking).content == b"v1"
    assert len(memory) == 0
    await lookups.manifest("a", "v1", "")
    assert [call.lease for call in played_metadata.resolved] == ["of this test", "another"]


async def test_after_a_confirmed_revocation_the_service_is_asked_again(
    lookups: Lookups, leased, played_metadata
) -> None:
    await lookups.manifest("a", "v1", "")
    played_metadata.answer = lambda query: manifest_answer(b"newer")
    leased.revoke(1, "a", tags=["v1"])
    await leased.requests("confirm")
    assert (await lookups.manifest("a", "v1", "")).content == b"newer"
