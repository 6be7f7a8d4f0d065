"""How long a call waits for a service that has just gone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from moorage.rpc import Address, RpcServer, open_channel
from moorage.rpc.readiness import Readiness, connected


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


class Instance:
    """What a call may go to."""

    def __init__(self, address: Address, grace: float) -> None:
        self.channel = open_channel(address)
        self.readiness = Readiness(self.channel, grace=grace)


async def test_who_waits_for_an_instance_that_is_gone_gets_its_successor(short_folder: Path) -> None:
    gone = Instance(Address.parse(f"unix://{short_folder}/gone.sock"), grace=30)
    address = Address.parse(f"unix://{short_folder}/successor.sock")
    successor = Instance(address, grace=30)
    listed, missing = [gone], asyncio.Event()
    waiting = asyncio.create_task(connected(lambda: listed[0], missing.set))
    async with asyncio.timeout(10):
        await missing.wait()
        server = RpcServer(address)
        await server.start()
        listed[0] = successor
        assert await waiting is successor
    for each in (gone, successor):
        await each.channel.close(None)
    await server.stop(0)


async def test_an_instance_that_stays_away_is_given_up_after_its_grace(address: Address) -> None:
    gone = Instance(address, grace=0.5)
    started = time.monotonic()
    assert await connected(lambda: gone, lambda: None) is gone
    assert time.monotonic() - started >= 0.5
    await gone.channel.close(None)
