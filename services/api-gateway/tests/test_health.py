"""Checks and the state that they leave."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from api_gateway.checks import configured_checks, webhook_checks
from api_gateway.health import Check, CheckFailedError, HealthState, running
from moorage.config import Configuration, parse
from moorage.rpc import Address, RpcServer, open_channel
from moorage.rpc.health import WEBHOOKS


async def until(condition, timeout: float = 5) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


class Probe:
    """A probe whose answers a test chooses."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.runs = 0

    async def __call__(self) -> None:
        self.runs += 1
        if self.reason is not None:
            raise CheckFailedError(self.reason)


async def test_a_check_fails_and_passes_again() -> None:
    probe, state = Probe(), HealthState()
    async with running([Check("it", probe, interval=0.01, threshold=0)], state):
        await until(lambda: probe.runs > 2)
        assert not state.failing
        probe.reason = "broken"
        await until(lambda: state.failing)
        assert state.errors == {"it": "broken"}
        probe.reason = None
        await until(lambda: not state.failing)


async def test_a_check_fails_only_after_as_many_failures_in_a_row_as_its_threshold() -> None:
    probe, state = Probe(), HealthState()
    probe.reason = "broken"
    seen = []

    async def watched() -> None:
        seen.append(state.failing)
        await probe()

    async with running([Check("it", watched, interval=0.001, threshold=3)], state):
        await until(lambda: state.failing)
    assert seen[:3] == [False, False, False]


async def test_a_probe_that_breaks_fails_its_check_and_goes_on() -> None:
    state = HealthState()
    runs = 0

    async def broken() -> None:
        nonlocal runs
        runs += 1
        raise ZeroDivisionError

    async with running([Check("it", broken, interval=0.001, threshold=1)], state):
        await until(lambda: runs > 2)
        assert state.failing


def checks_of(health: str, *, serving: bool = True) -> dict[str, Check]:
    async def blobs_serving(timeout: float) -> bool:
        return serving

    config = parse(f"version: 0.1\nstorage: inmemory\nhealth: {health}\n", {})
    return {check.name: check for check in configured_checks(config, blobs_serving)}


async def test_a_file_check_fails_while_the_file_exists(tmp_path: Path) -> None:
    path = tmp_path / "out-of-service"
    check = checks_of(f"{{file: [{{file: '{path}', interval: 3s}}]}}")[str(path)]
    assert check.interval == 3
    await check.probe()
    path.touch()
    with pytest.raises(CheckFailedError, match="file exists"):
        await check.probe()


async def test_a_tcp_check_fails_when_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        check = checks_of(f"{{tcp: [{{addr: '{address}', timeout: 2s}}]}}")[address]
        await check.probe()
    with pytest.raises(CheckFailedError):
        await check.probe()


async def test_an_http_check_fails_on_another_status() -> None:
    heads = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/up?x=1"
        entry = f"{{uri: '{uri}', headers: {{X-Probe: [a, b]}}, statuscode: %s}}"
        await checks_of(f"{{http: [{entry % 302}]}}")[uri].probe()
        with pytest.raises(CheckFailedError, match="answered 302, not 200"):
            await checks_of(f"{{http: [{entry % 200}]}}")[uri].probe()
    assert heads[0].startswith(b"HEAD /up?x=1 HTTP/1.1\r\n")
    assert heads[0].count(b"X-Probe: ") == 2
    with pytest.raises(CheckFailedError, match="failed"):
        await checks_of(f"{{http: [{entry % 200}]}}")[uri].probe()


async def test_the_storage_driver_is_checked_through_the_blob_service() -> None:
    health = "{storagedriver: {enabled: true, interval: 7s, threshold: 3}}"
    check = checks_of(health)["storagedriver_inmemory"]
    assert (check.interval, check.threshold) == (7, 3)
    await check.probe()
    with pytest.raises(CheckFailedError):
        await checks_of(health, serving=False)["storagedriver_inmemory"].probe()


async def test_what_is_not_vital_is_told_and_takes_nothing_out_of_service() -> None:
    probe, state = Probe(), HealthState()
    probe.reason = "away"
    async with running([Check("it", probe, interval=0.01, threshold=0, vital=False)], state):
        await until(lambda: state.degraded)
        assert (state.degraded, state.errors, state.failing) == ({"it": "away"}, {}, False)
        probe.reason = None
        await until(lambda: not state.degraded)


async def test_redis_is_checked_where_it_is_the_cache_and_is_not_vital() -> None:
    async def blobs_serving(timeout: float) -> bool:
        return True

    for cache, names in (("redis", ["redis"]), ("inmemory", [])):
        storage = f"{{inmemory: , cache: {{blobdescriptor: {cache}}}}}"
        config = parse(f"version: 0.1\nstorage: {storage}\nredis: {{addr: 'localhost:6379'}}\n", {})
        async with open_channel(Address.parse("127.0.0.1:1")) as metadata:
            checks = configured_checks(config, blobs_serving, metadata)
            assert [check.name for check in checks] == names
            for check in checks:
                assert not check.vital
                # A metadata service that does not answer says nothing about its cache.
                await check.probe()


def with_endpoints(address: str, **fields: Any) -> Configuration:
    endpoint = {"name": "a", "url": "https://a.example/", **fields}
    return Configuration.model_validate(
        {
            "version": "0.1",
            "storage": {"inmemory": {}},
            "services": {"notifier": {"addr": address}},
            "notifications": {"endpoints": [endpoint]},
        }
    )


def test_without_an_endpoint_there_is_no_check_of_webhooks() -> None:
    assert not webhook_checks(with_endpoints("127.0.0.1:1", disabled=True))


async def test_webhooks_are_checked_through_the_notifier_and_are_not_vital(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/n.sock"
    (check,) = webhook_checks(with_endpoints(address))
    assert not check.vital
    with pytest.raises(CheckFailedError, match="the notifier does not serve"):
        await check.probe()
    server = RpcServer(Address.parse(address))
    await server.start()
    try:
        await server.serving(True)
        await check.probe()
        await server.report(WEBHOOKS, False)
        with pytest.raises(CheckFailedError, match="an endpoint does not take events"):
            await check.probe()
        await server.report(WEBHOOKS, True)
        await check.probe()
    finally:
        await server.stop(0)
