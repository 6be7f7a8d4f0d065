"""Traces: what the environment asks for, and spans at real collectors of both protocols."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager

import pytest

from moorage import context, tracing
from moorage.config import ConfigurationError
from moorage.rpc import Address, RpcServer, open_channel, unary
from moorage.tracing import sdk
from moorage.v1 import event_pb2, event_pb2_grpc
from support.otlp import Collector, grpc_collector, http_collector
from support.processes import free_port


@pytest.mark.parametrize(
    ("environment", "exporters", "protocol"),
    [
        ({}, (), "http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "none"}, (), "http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp",), "http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": " otlp, console,otlp"}, ("otlp", "console"), "http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp",), "grpc"),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ("otlp",),
            "http/protobuf",
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, (), "http/protobuf"),
    ],
)
def test_the_standard_variables_say_where_spans_go(
    environment: dict[str, str], exporters: tuple[str, ...], protocol: str
) -> None:
    settings = tracing.checked(environment)
    assert (settings.exporters, settings.protocol, settings.warnings) == (exporters, protocol, ())
    assert settings.enabled == bool(exporters)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER: must be one of none, otlp, console, not 'zipkin'",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: must be one of http/protobuf, grpc, not 'http/json'",
        ),
    ],
)
def test_a_word_that_nobody_knows_is_refused(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tracing.checked(environment)
    assert str(caught.value) == sentence


def test_an_endpoint_without_an_exporter_is_warned_of() -> None:
    (warning,) = tracing.checked({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}).warnings
    assert warning == "OTEL_EXPORTER_OTLP_ENDPOINT: not used, as OTEL_TRACES_EXPORTER is not otlp"


class Notifier(event_pb2_grpc.NotifierServicer):
    """A service that answers, and notes under which request."""

    def __init__(self) -> None:
        self.request_ids: list[str] = []

    async def StreamStatus(self, request: object, context_: object) -> event_pb2.StreamStatusResponse:  # noqa: N802
        self.request_ids.append(context.request_id.get())
        return event_pb2.StreamStatusResponse()


async def one_call(notifier: Notifier) -> None:
    server = RpcServer(Address.parse(f"127.0.0.1:{free_port()}"))
    server.add("moorage.v1.Notifier", lambda s: event_pb2_grpc.add_NotifierServicer_to_server(notifier, s))
    await server.start()
    channel = open_channel(server._address)
    try:
        stub: event_pb2_grpc.NotifierAsyncStub = event_pb2_grpc.NotifierStub(channel)  # type: ignore[assignment]
        context.request_id.set("id-1")
        await unary(stub.StreamStatus, event_pb2.StreamStatusRequest(), timeout=10)
    finally:
        await channel.close(None)
        await server.stop(0)


@pytest.mark.parametrize(
    ("protocol", "collecting"), [("http/protobuf", http_collector), ("grpc", grpc_collector)]
)
async def test_a_call_between_services_is_two_spans_of_one_trace(
    monkeypatch: pytest.MonkeyPatch, protocol: str, collecting: object
) -> None:
    assert callable(collecting)
    opened: AbstractContextManager[Collector] = collecting()
    notifier = Notifier()
    with opened as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        with sdk.tracing(tracing.Settings(("otlp",), protocol), "blob"):
            assert tracing.is_on()
            await one_call(notifier)
        assert not tracing.is_on()
        assert context.outgoing().keys() <= {"x-request-id"}
        server, client = sorted(collector.spans, key=lambda span: span.kind)
    assert notifier.request_ids == ["id-1"]
    assert server.name == client.name == "moorage.v1.Notifier/StreamStatus"
    assert (server.trace_id, server.parent_id) == (client.trace_id, client.span_id)
    assert server.attributes["moorage.request.id"] == "id-1"
    assert client.resource["service.name"] == "moorage-blob"
    assert client.resource["deployment.environment.name"] == "test"


def test_a_collector_that_is_away_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with sdk.tracing(tracing.Settings(("otlp",)), "blob"):
            tracing.record("something", 0.1, {})
            started = time.monotonic()
    assert time.monotonic() - started < 4


def test_opentelemetry_s_machinery_is_not_imported_while_tracing_is_off() -> None:
    script = (
        "import sys\n"
        "import api_gateway.main, blob_service.main, metadata_service.main, notifier.main, moorage.cli\n"
        "from moorage import logging\n"
        "logging.configure(level='info', formatter='json', fields={}, service='gateway')\n"
        "import structlog; structlog.get_logger().info('a line')\n"
        "machinery = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(machinery)])\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


async def test_without_tracing_a_call_carries_the_id_alone() -> None:
    notifier = Notifier()
    async with asyncio.timeout(20):
        await one_call(notifier)
    assert notifier.request_ids == ["id-1"]
    assert context.outgoing() == {"x-request-id": "id-1"}
