"""Addresses of services, and names in DNS that stand for several."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import grpc
import pytest

from moorage.config import Configuration, ConfigurationError
from moorage.rpc import Address, InvalidAddressError, RpcServer, open_channel, wait_until_serving
from moorage.rpc.client import channel_options
from moorage.rpc.discovery import NamedTarget, following, resolve
from moorage.rpc.health import is_serving
from support.processes import free_port

NAME = Address.parse("dns:///blob-service:5010")


def found(*hosts: str, port: int = 5010) -> tuple[Address, ...]:
    return tuple(Address(host=host, port=port, name="blob-service") for host in hosts)


class Zone:
    """What DNS has for the names; an exception is raised."""

    def __init__(self, answer: tuple[Address, ...] | Exception) -> None:
        self.answer = answer
        self.asked = asyncio.Event()

    async def __call__(self, _name: Address) -> tuple[Address, ...]:
        self.asked.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def is_asked(self) -> None:
        for _ in range(2):  # the answer of the second question is applied before the third one
            self.asked.clear()
            await asyncio.wait_for(self.asked.wait(), 5)


class Seen(list[list[str]]):
    def __call__(self, addresses: Sequence[Address]) -> None:
        self.append([each.target for each in addresses])


@pytest.mark.parametrize(
    ("text", "target", "listens"),
    [
        ("unix:///run/blob.sock", "unix:/run/blob.sock", "unix:/run/blob.sock"),
        ("tcp://10.0.0.1:1", "10.0.0.1:1", "10.0.0.1:1"),
        ("[::1]:2", "[::1]:2", "[::1]:2"),
        ("dns:///blob-service:3", "dns:///blob-service:3", "[::]:3"),
    ],
)
def test_an_address_says_where_to_connect_and_where_to_listen(text: str, target: str, listens: str) -> None:
    address = Address.parse(text)
    assert (address.target, address.listen_target) == (target, listens)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["dns:///x", "dns://server/x:1", "dns:///:1", "dns:///x:1/y", "http://x:1"])
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddressError):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("dns:///blob-service:5010", "127.0.0.1:5010"),
        ("0.0.0.0:5010", "127.0.0.1:5010"),
        ("[::]:5010", "[::1]:5010"),
        ("10.1.2.3:5010", "10.1.2.3:5010"),
        ("unix:///run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_a_service_is_reached_from_its_own_host(text: str, reached: str) -> None:
    assert Address.parse(text).of_this_host.target == reached


def test_an_address_that_was_found_is_called_by_the_name() -> None:
    (address,) = found("10.0.0.7")
    assert address.server_name == "blob-service"
    assert ("grpc.default_authority", "blob-service:5010") in channel_options(address)
    assert ("grpc.default_authority", "blob-service:5010") in channel_options(NAME)
    plain = channel_options(Address.parse("10.0.0.7:1"))
    assert not [key for key, _ in plain if key == "grpc.default_authority"]


async def test_the_system_s_resolver_gives_each_address_of_a_name() -> None:
    addresses = await resolve(Address.parse("dns:///localhost:5010"))
    assert {each.host for each in addresses} <= {"127.0.0.1", "::1"}
    assert all((each.name, each.port, each.discovered) == ("localhost", 5010, False) for each in addresses)
    with pytest.raises(OSError, match=r"not known|No address|failure"):
        await resolve(Address.parse("dns:///no-such-name.invalid:1"))


async def test_instances_are_followed_as_they_come_and_go() -> None:
    zone, seen = Zone(found("10.0.0.1")), Seen()
    async with following([NAME, Address.parse("10.9.9.9:1")], seen, interval=0.01, ask=zone):
        assert seen == [["10.9.9.9:1", "10.0.0.1:5010"]]
        zone.answer = found("10.0.0.1", "10.0.0.2")
        await zone.is_asked()
        zone.answer = found("10.0.0.2")
        await zone.is_asked()
    assert seen[1:] == [["10.9.9.9:1", "10.0.0.1:5010", "10.0.0.2:5010"], ["10.9.9.9:1", "10.0.0.2:5010"]]


async def test_what_is_known_stays_while_dns_does_not_answer() -> None:
    zone, seen = Zone(found("10.0.0.1")), Seen()
    async with following([NAME], seen, interval=0.01, ask=zone):
        zone.answer = socket.gaierror("nobody answers")
        await zone.is_asked()
    assert seen == [["10.0.0.1:5010"]]


async def test_a_start_without_dns_waits_a_moment_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.rpc.discovery._FIRST", 0.05)
    zone, seen = Zone(socket.gaierror("not yet")), Seen()
    async with following([NAME], seen, interval=0.01, ask=zone):
        assert not [each for each in seen if each]
        zone.answer = found("10.0.0.1")
        await zone.is_asked()
        assert seen[-1] == ["10.0.0.1:5010"]


async def test_nothing_is_asked_without_a_name() -> None:
    zone, seen = Zone(found("10.0.0.1")), Seen()
    async with following([Address.parse("10.9.9.9:1")], seen, interval=0.01, ask=zone):
        await asyncio.sleep(0)
    assert not seen
    assert not zone.asked.is_set()


async def test_a_service_with_a_name_listens_on_every_interface_and_is_found_by_it() -> None:
    port = free_port()
    address = Address.parse(f"dns:///localhost:{port}")
    server = RpcServer(address)
    await server.start()
    await server.serving(True)
    try:
        for client in (address, Address.parse(f"127.0.0.2:{port}"), address.of_this_host):
            channel = open_channel(client)
            assert await wait_until_serving(channel, timeout=5), client
            await channel.close(None)
    finally:
        await server.stop(0)


async def test_a_channel_follows_a_service_that_was_away_for_long_to_its_new_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moorage.rpc.discovery._INTERVAL", 0.01)
    monkeypatch.setattr("moorage.rpc.discovery._RETRY", 0.01)
    port = free_port()
    nowhere = socket.gaierror("nothing")
    zone = Zone(nowhere)
    channel = open_channel(Address.parse(f"dns:///blob-service:{port}"), ask=zone)
    assert not await is_serving(channel, timeout=0.2)
    for host in ("127.0.0.1", "127.0.0.2"):
        server = RpcServer(Address(host=host, port=port))
        await server.start()
        await server.serving(True)
        zone.answer = found(host, port=port)
        await zone.is_asked()
        async with asyncio.timeout(5):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(state)
        assert await is_serving(channel, timeout=5)
        zone.answer = nowhere
        await server.stop(0)
    await channel.close(None)


async def test_a_channel_stays_while_a_name_has_what_it_had_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.rpc.discovery._INTERVAL", 0.01)
    zone = Zone(found("10.0.0.2", "10.0.0.1"))
    named = NamedTarget(NAME, zone)
    following = asyncio.create_task(named.follow())
    await zone.is_asked()
    assert named.target() == "dns:///blob-service:5010"
    zone.answer = found("::1")
    await zone.is_asked()
    assert named.target() == "ipv6:[::1]:5010"
    zone.answer = found("10.0.0.1", "10.0.0.2")
    await zone.is_asked()
    assert named.target() == "ipv4:10.0.0.1:5010,10.0.0.2:5010"
    following.cancel()


def test_a_name_is_an_address_of_another_host(configured) -> None:
    with pytest.raises(ConfigurationError, match="is not on this host"):
        configured("services.metadata.addr", "dns:///metadata-service:5020")


def test_the_configuration_takes_a_name_for_every_service(configured) -> None:
    read: Configuration = configured(
        "services",
        "{insecure: true, blob: {addr: 'dns:///blob:1', dataport: 7}, "
        "metadata: {addr: 'dns:///metadata:2'}, notifier: {addr: 'dns:///notifier:3'}}",
    )
    services = read.services
    assert services.metadata.addr == "dns:///metadata:2"
    assert services.notifier.addr == "dns:///notifier:3"


def test_workers_behind_a_name_have_ports_that_count_up() -> None:
    from moorage.config.services import BlobService

    blob = BlobService(addr=("dns:///blob:5010",), workers=2)
    assert blob.instances == ("dns:///blob:5010", "dns:///blob:5011")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("dns:///10.0.0.1:5010", "dns:/// takes a name, which 10.0.0.1 is not; write 10.0.0.1:5010"),
        ("dns:///blob", "must be unix:///path, dns:///name:port, tcp://host:port or host:port"),
        ("dns:///:5010", "must name a host and a port"),
    ],
)
def test_a_wrong_name_is_told_with_its_key(configured, address: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured("services.metadata.addr", f"'{address}'")
    assert f"services.metadata.addr: {sentence}" in str(caught.value)
