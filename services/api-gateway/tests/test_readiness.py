"""How long a call waits for a service that has just gone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from api_gateway.clients.metadata import MetadataClient
from api_gateway.clients.readiness import Readiness
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, RpcServer, open_channel
from moorage.v1 import common_pb2


@pytest.fixture
def address(short_folder: Path) -> Address:
    return Address.parse(f"unix://{short_folder}/service.sock")


async def test_a_call_goes_on_as_soon_as_the_service_is_back(address: Address) -> None:
    channel = open_channel(address)
    waiting = asyncio.create_task(Readiness(channel, grace=30).wait())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    server = RpcServer(address)
    await server.start()
    async with asyncio.timeout(10):
        await waiting
    await channel.close(None)
    await server.stop(0)


async def test_a_service_that_stays_away_is_waited_for_once(address: Address) -> None:
    """Who comes when it has been away for the whole grace finds out at once."""
    channel = open_channel(address)
    readiness = Readiness(channel, grace=0.5)
    started = time.monotonic()
    await readiness.wait()
    first = time.monotonic() - started
    await readiness.wait()
    second = time.monotonic() - started - first
    await channel.close(None)
    assert first >= 0.5
    assert second < 0.25


async def test_a_link_waits_for_its_service_as_long_as_one_call_may_take(address: Address) -> None:
    channel = open_channel(address)
    client = MetadataClient(channel, timeout=2, grace=0.1)
    async with asyncio.timeout(3.5):
        with pytest.raises(RegistryError) as caught:
            await client.link_blob("team/app", common_pb2.Descriptor(), [])
    assert caught.value.code is ErrorCode.UNAVAILABLE
    await channel.close(None)
