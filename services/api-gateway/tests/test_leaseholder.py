"""Holding a lease against a metadata service that is played."""

from __future__ import annotations

import asyncio
import time

import pytest

from api_gateway.memory import Manifest, Memory, holding
from api_gateway.memory.lease import Leaseholder
from moorage.rpc import Address, open_channel

DIGEST = "sha256:" + "a" * 64
KEY = ("library/app", "v1", "")


def keep(memory: Memory, key=KEY) -> None:
    with memory.watching() as watch:
        memory.keep(watch, key, Manifest.of(DIGEST, "application/json", b"{}"))


async def eventually(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


@pytest.fixture
def memory() -> Memory:
    return Memory(1 << 20)


@pytest.fixture
async def stream(played_metadata, metadata_channel, memory: Memory):
    """The stream of a gateway that was granted a lease of an hour, and keeps one manifest."""
    async with holding(metadata_channel, memory):
        stream = await played_metadata.stream()
        await stream.requests("renew")
        stream.grant("lease", 3600)
        await eventually(lambda: memory.is_leased)
        keep(memory)
        assert memory.manifest(KEY) is not None
        yield stream


async def test_a_revocation_is_confirmed_when_what_it_names_is_gone(stream, memory: Memory) -> None:
    stream.revoke(7, "library/app", tags=["v1"])
    assert (await stream.requests("confirm")).confirm.revocation == 7
    assert memory.manifest(KEY) is None


async def test_revocations_are_confirmed_in_turn_also_of_what_is_not_there(stream, memory: Memory) -> None:
    for number in range(1, 50):
        stream.revoke(number, f"library/unknown-{number}")
    confirmed = [(await stream.requests("confirm")).confirm.revocation for _ in range(1, 50)]
    assert confirmed == list(range(1, 50))
    assert memory.manifest(KEY) is not None


async def test_a_stream_that_the_service_ends_empties_the_memory_and_is_opened_again(
    stream, played_metadata, memory: Memory
) -> None:
    stream.end()
    again = await played_metadata.stream()
    assert (memory.is_leased, len(memory)) == (False, 0)
    await again.requests("renew")
    again.grant("another", 3600)
    await eventually(lambda: memory.is_leased)
    assert memory.manifest(KEY) is None


async def test_a_lease_is_released_at_the_end_and_what_was_held_is_gone_before(
    played_metadata, metadata_channel, memory: Memory
) -> None:
    async with holding(metadata_channel, memory):
        stream = await played_metadata.stream()
        await stream.requests("renew")
        stream.grant("lease", 3600)
        await eventually(lambda: memory.is_leased)
        keep(memory)
    await stream.requests("release")
    assert (memory.is_leased, len(memory)) == (False, 0)
    await asyncio.wait_for(stream.closed.wait(), 10)


async def test_a_lease_is_renewed_before_it_runs_out(
    played_metadata, metadata_channel, memory: Memory
) -> None:
    async with holding(metadata_channel, memory):
        stream = await played_metadata.stream()
        await stream.requests("renew")
        for _ in range(4):
            granted = time.monotonic()
            stream.grant("lease", 0.6)
            await stream.requests("renew")
            assert 0.19 < time.monotonic() - granted < 0.6


async def test_a_lease_counts_from_the_moment_it_was_asked_for_and_a_tenth_less(
    played_metadata, metadata_channel
) -> None:
    now = 100.0
    memory = Memory(1 << 20, clock=lambda: now)
    holder = asyncio.create_task(Leaseholder(metadata_channel, memory, clock=lambda: now).run())
    stream = await played_metadata.stream()
    await stream.requests("renew")
    # The grant takes five seconds, or this process stood still for so long.
    now = 105.0
    stream.grant("lease", 10)
    await eventually(lambda: memory.is_leased)
    keep(memory)
    now = 108.99
    assert memory.manifest(KEY) is not None
    now = 109.0
    assert memory.manifest(KEY) is None
    holder.cancel()
    await asyncio.wait([holder])


async def test_a_grant_that_comes_when_its_lease_is_over_is_worth_nothing(
    played_metadata, metadata_channel
) -> None:
    now = 100.0
    memory = Memory(1 << 20, clock=lambda: now)
    holder = asyncio.create_task(Leaseholder(metadata_channel, memory, clock=lambda: now).run())
    stream = await played_metadata.stream()
    await stream.requests("renew")
    now = 200.0
    stream.grant("lease", 10)
    await eventually(lambda: memory.is_leased)
    keep(memory)
    assert memory.manifest(KEY) is None
    holder.cancel()
    await asyncio.wait([holder])


async def test_a_silent_service_is_given_up_and_asked_anew(
    played_metadata, metadata_channel, memory: Memory
) -> None:
    async with holding(metadata_channel, memory):
        stream = await played_metadata.stream()
        await stream.requests("renew")
        stream.grant("lease", 0.2)
        await eventually(lambda: memory.is_leased)
        keep(memory)
        # It answers no renewal.
        again = await played_metadata.stream()
        assert len(memory) == 0
        await asyncio.wait_for(stream.closed.wait(), 10)
        await again.requests("renew")


async def test_while_the_service_grants_nothing_nothing_is_kept_and_it_is_not_asked_again(
    played_metadata, metadata_channel, memory: Memory
) -> None:
    async with holding(metadata_channel, memory):
        stream = await played_metadata.stream()
        await stream.requests("renew")
        stream.grant("", 0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await stream._incoming.get()
        assert not memory.is_leased
        assert played_metadata.streams.empty()


async def test_a_gateway_that_starts_before_the_service_gets_its_lease_when_that_is_there(
    absent_metadata, memory: Memory
) -> None:
    channel = open_channel(absent_metadata.address)
    async with holding(channel, memory):
        await asyncio.sleep(0.3)
        async with absent_metadata.serving():
            stream = await absent_metadata.stream()
            await stream.requests("renew")
            stream.grant("lease", 3600)
            await eventually(lambda: memory.is_leased)
        await eventually(lambda: not memory.is_leased)
    await channel.close(None)


async def test_a_gateway_that_never_found_the_service_stops_at_once(short_folder, memory: Memory) -> None:
    channel = open_channel(Address.parse(f"unix://{short_folder}/nobody.sock"))
    async with holding(channel, memory):
        await asyncio.sleep(0.1)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 0.5
    await channel.close(None)
