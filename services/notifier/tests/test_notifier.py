from __future__ import annotations

import asyncio
import time

import grpc
import pytest
import structlog
from nats.js.api import StreamConfig

import moorage.events.broker
from moorage.errors import ErrorCode, RegistryError
from moorage.events.subjects import STREAM, SUBJECTS
from moorage.rpc import unary
from moorage.v1 import event_pb2


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moorage.events.broker, "CHECK_INTERVAL", 0.1)


async def status(running) -> event_pb2.StreamStatusResponse:
    return await unary(running.status, event_pb2.StreamStatusRequest(), timeout=5)


async def test_it_is_healthy_once_the_stream_is_there(nats_server, notifier, jetstream) -> None:
    async with notifier(nats_server.url) as running, jetstream(nats_server) as client:
        await running.becomes(healthy=True)
        config = (await client.stream_info(STREAM)).config
        assert (config.subjects, config.storage, config.num_replicas) == ([SUBJECTS], "file", 1)
        assert (config.max_age, config.max_bytes) == (14 * 24 * 3600, 2**30)


async def test_it_tells_what_the_stream_holds(nats_server, notifier, jetstream) -> None:
    async with notifier(nats_server.url) as running, jetstream(nats_server) as client:
        await running.becomes(healthy=True)
        await client.publish("registry.events.push", b"an event")
        answer = await status(running)
        assert (answer.stream, answer.messages) == (STREAM, 1)
        assert answer.bytes >= len(b"an event")


async def test_it_recovers_when_the_broker_is_killed_and_started_again(
    nats_server, notifier, jetstream
) -> None:
    async with notifier(nats_server.url) as running:
        await running.becomes(healthy=True)
        async with jetstream(nats_server) as client:
            await client.publish("registry.events.push", b"an event")
        await nats_server.kill()
        await running.becomes(healthy=False)
        with pytest.raises(RegistryError) as caught:
            await status(running)
        assert caught.value.code is ErrorCode.UNAVAILABLE
        await nats_server.start()
        await running.becomes(healthy=True)
        assert (await status(running)).messages == 1


async def test_it_waits_for_a_broker_that_comes_later(nats_server, notifier) -> None:
    await nats_server.kill()
    async with notifier(nats_server.url) as running:
        assert not await running.healthy()
        await nats_server.start()
        await running.becomes(healthy=True)


async def test_it_recovers_when_the_broker_comes_back_with_other_credentials_for_a_while(
    nats_server, notifier
) -> None:
    async with notifier(nats_server.url) as running:
        await running.becomes(healthy=True)
        await nats_server.kill()
        nats_server.password = "another"
        await nats_server.start()
        await asyncio.sleep(0.5)
        assert not await running.healthy()
        await nats_server.kill()
        nats_server.password = ""
        await nats_server.start()
        await running.becomes(healthy=True)


async def test_credentials_reach_the_broker_and_neither_log_nor_status(
    nats_server, notifier, capfd: pytest.CaptureFixture[str]
) -> None:
    await nats_server.kill()
    nats_server.password = "s3cret-w0rd"
    with structlog.testing.capture_logs() as lines:
        async with notifier(nats_server.url) as running:
            await asyncio.sleep(0.3)
            await nats_server.start()
            await running.becomes(healthy=True)
            answer = await status(running)
            await nats_server.kill()
            await running.becomes(healthy=False)
    assert answer.server == f"nats://127.0.0.1:{nats_server.port}"
    assert {line["event"] for line in lines} >= {"no event stream; trying again", "the event stream is there"}
    assert "s3cret" not in repr(lines) + "".join(capfd.readouterr())


async def test_a_refusal_by_the_broker_is_logged_once(nats_server, notifier) -> None:
    await nats_server.kill()
    nats_server.password = "right"
    await nats_server.start()
    wrong = nats_server.url.replace("right", "wrong")
    with structlog.testing.capture_logs() as lines:
        async with notifier(wrong) as running:
            await asyncio.sleep(1)
            assert not await running.healthy()
    complaints = [line["reason"] for line in lines if line["log_level"] == "warning"]
    assert len(complaints) == 1
    assert "authorization" in complaints[0].lower()


async def test_a_broker_without_jetstream_is_not_enough(nats_server, notifier) -> None:
    await nats_server.kill()
    await nats_server.start(jetstream=False)
    async with notifier(nats_server.url) as running:
        await asyncio.sleep(0.5)
        assert not await running.healthy()
        await nats_server.kill()
        await nats_server.start()
        await running.becomes(healthy=True)


async def test_the_limits_of_a_stream_that_an_operator_made_are_kept(
    nats_server, notifier, jetstream
) -> None:
    async with jetstream(nats_server) as client:
        own = StreamConfig(name=STREAM, subjects=["registry.>"], max_age=60.0, max_bytes=10**6, max_msgs=17)
        before = (await client.add_stream(own)).config
        async with notifier(nats_server.url) as running:
            await running.becomes(healthy=True)
        assert (await client.stream_info(STREAM)).config == before


async def test_a_stream_that_would_lose_events_is_not_healthy_and_not_changed(
    nats_server, notifier, jetstream
) -> None:
    async with jetstream(nats_server) as client:
        before = (await client.add_stream(StreamConfig(name=STREAM, subjects=["orders.>"]))).config
        with structlog.testing.capture_logs() as lines:
            async with notifier(nats_server.url) as running:
                await asyncio.sleep(0.5)
                assert not await running.healthy()
        assert (await client.stream_info(STREAM)).config == before
    assert any("does not take the subjects" in line.get("reason", "") for line in lines)


async def test_a_stream_that_is_deleted_is_made_again(nats_server, notifier, jetstream) -> None:
    async with notifier(nats_server.url) as running, jetstream(nats_server) as client:
        await running.becomes(healthy=True)
        await client.delete_stream(STREAM)
        async with asyncio.timeout(10):
            while STREAM not in [info.config.name for info in await client.streams_info()]:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("broker_runs", [True, False])
async def test_it_stops_soon_with_or_without_a_broker(nats_server, notifier, broker_runs: bool) -> None:
    async with notifier(nats_server.url) as running:
        await running.becomes(healthy=True)
        if not broker_runs:
            await nats_server.kill()
            await running.becomes(healthy=False)
        started = time.monotonic()
        await running.stop()
        assert time.monotonic() - started < 3


async def test_a_password_is_not_sent_in_the_clear_when_the_url_demands_tls(notifier) -> None:
    heard = bytearray()

    async def plain_broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","headers":true,"max_payload":1048576}\r\n')
        heard.extend(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(plain_broker, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with structlog.testing.capture_logs() as lines:
            async with notifier(f"tls://moorage:s3cret@127.0.0.1:{port}") as running:
                await asyncio.sleep(0.5)
                assert not await running.healthy()
    assert b"s3cret" not in heard
    assert any("does not offer TLS" in line.get("reason", "") for line in lines)


async def test_its_calls_are_unavailable_before_there_was_ever_a_broker(nats_server, notifier) -> None:
    await nats_server.kill()
    async with notifier(nats_server.url) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.status(event_pb2.StreamStatusRequest(), timeout=5, wait_for_ready=True)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
