"""Instances of the blob service that are found in DNS: they come, go, and keep their uploads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from api_gateway.clients.instances import BlobInstances
from moorage.config.services import Services
from moorage.errors import ErrorCode, RegistryError
from moorage.rpc import Address, RpcServer
from support.processes import free_port

# The rank of an instance to which the last attempt to connect failed.
UNREACHABLE = 2

KEYS = [f"upload-{number}" for number in range(60)]


class Zone:
    """A port, and the addresses of the loopback network at which an instance listens."""

    def __init__(self) -> None:
        self.port = free_port()
        self.servers: dict[str, RpcServer] = {}
        self.listed: list[str] = []

    @property
    def name(self) -> str:
        return f"dns:///blob-service:{self.port}"

    async def start(self, host: str) -> None:
        server = RpcServer(Address.parse(f"{host}:{self.port}"))
        await server.start()
        await server.serving(True)
        self.servers[host] = server
        self.listed.append(host)

    async def __call__(self, _name: Address) -> tuple[Address, ...]:
        if not self.listed:
            raise socket.gaierror("no such name")
        return tuple(Address(host=host, port=self.port, name="blob-service") for host in self.listed)


@pytest.fixture
async def zone(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Zone]:
    monkeypatch.setattr("moorage.rpc.discovery._RETRY", 0.02)
    monkeypatch.setattr("moorage.rpc.discovery._FIRST", 0.1)
    zone = Zone()
    yield zone
    for server in zone.servers.values():
        await server.stop(0)


@pytest.fixture
async def instances(zone: Zone) -> AsyncIterator[BlobInstances]:
    found = BlobInstances([zone.name], Services())
    yield found
    await found.close()


def hosts(instances: BlobInstances) -> set[str]:
    return {instances.chosen(key).address.rpartition(":")[0] for key in KEYS}


def connected(instances: BlobInstances) -> set[str]:
    """The hosts of the instances for the keys, when all are connected: before, others may be chosen."""
    chosen = [instances.chosen(key) for key in KEYS]
    return {each.address.rpartition(":")[0] for each in chosen} if not any(e.rank for e in chosen) else set()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_without_an_instance_a_call_is_unavailable_and_then_it_is_found(
    zone: Zone, instances: BlobInstances
) -> None:
    async with instances.followed(zone):
        with pytest.raises(RegistryError) as caught:
            instances.chosen("any")
        assert caught.value.code is ErrorCode.UNAVAILABLE
        assert not await instances.serving(1)
        await zone.start("127.0.0.2")
        await until(lambda: _known(instances))
        assert hosts(instances) == {"127.0.0.2"}
        assert await instances.serving(5)


async def test_a_call_waits_a_moment_for_the_first_instance_to_be_listed(
    zone: Zone, instances: BlobInstances
) -> None:
    async with instances.followed(zone):
        waiting = asyncio.create_task(instances.for_key("any"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await zone.start("127.0.0.2")
        async with asyncio.timeout(10):
            assert (await waiting).address.startswith("127.0.0.2:")


async def test_a_call_waits_for_no_more_than_the_grace(zone: Zone) -> None:
    instances = BlobInstances([zone.name], Services(grace="50ms"))
    async with instances.followed(zone):
        with pytest.raises(RegistryError) as caught:
            await instances.for_key("any")
    assert caught.value.code is ErrorCode.UNAVAILABLE


async def test_a_call_that_waits_for_an_instance_goes_to_its_successor_at_another_address(zone: Zone) -> None:
    instances = BlobInstances([zone.name], Services(grace="30s"))
    await zone.start("127.0.0.2")
    async with instances.followed(zone):
        gone = await instances.for_key("any")
        await zone.servers["127.0.0.2"].stop(0)
        await until(lambda: instances.chosen("any").rank == UNREACHABLE)
        # DNS has it for a while, and is asked again well before the time between two questions is over.
        waiting = asyncio.create_task(instances.for_key("any"))
        await asyncio.sleep(0.1)
        zone.listed.remove("127.0.0.2")
        await zone.start("127.0.0.3")
        async with asyncio.timeout(3):
            successor = await waiting
        assert successor.address == f"127.0.0.3:{zone.port}" != gone.address
    await instances.close()


def _known(instances: BlobInstances) -> bool:
    try:
        instances.chosen("any")
    except RegistryError:
        return False
    return True


async def test_keys_are_shared_between_the_instances_that_are_connected(
    zone: Zone, instances: BlobInstances
) -> None:
    await zone.start("127.0.0.2")
    await zone.start("127.0.0.3")
    async with instances.followed(zone):
        await until(lambda: connected(instances) == {"127.0.0.2", "127.0.0.3"})
        before = {key: instances.chosen(key) for key in KEYS}
        assert before == {key: instances.chosen(key) for key in KEYS}
        # One stops, before DNS knows of it: the other one has all calls.
        await zone.servers["127.0.0.2"].stop(0)
        await until(lambda: hosts(instances) == {"127.0.0.3"})


async def test_an_instance_that_dns_leaves_out_and_lists_again_keeps_its_connection(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.rpc.discovery._INTERVAL", 0.02)
    instances = BlobInstances([zone.name], Services())
    await zone.start("127.0.0.2")
    await zone.start("127.0.0.3")
    async with instances.followed(zone):
        await until(lambda: connected(instances) == {"127.0.0.2", "127.0.0.3"})
        before = {key: instances.chosen(key) for key in KEYS}
        zone.listed.remove("127.0.0.2")
        await until(lambda: hosts(instances) == {"127.0.0.3"})
        zone.listed.append("127.0.0.2")
        await until(lambda: connected(instances) == {"127.0.0.2", "127.0.0.3"})
        # Once it is connected again.
        await until(lambda: {key: instances.chosen(key) for key in KEYS} == before)
    await instances.close()


async def test_an_instance_that_is_gone_is_closed_after_it_had_time_to_drain(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.rpc.discovery._INTERVAL", 0.02)
    monkeypatch.setattr("api_gateway.clients.instances._RETIREMENT", 0.05)
    instances = BlobInstances([zone.name], Services())
    await zone.start("127.0.0.2")
    async with instances.followed(zone):
        gone = instances.chosen("any")
        await zone.start("127.0.0.3")
        zone.listed.remove("127.0.0.2")
        await until(lambda: hosts(instances) == {"127.0.0.3"})
        # A closed channel answers no question any more.
        await until(lambda: _is_closed(gone))
    await instances.close()


def _is_closed(instance) -> bool:
    try:
        instance.channel.get_state()
    except Exception:
        return True
    return "SHUTDOWN" in str(instance.channel.get_state())
