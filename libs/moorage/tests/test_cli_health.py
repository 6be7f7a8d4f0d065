"""`moorage health`, as a container's health check runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moorage.rpc import Address, RpcServer
from support.processes import free_port
from support.tls import Certificates


async def health(service: str, *arguments: str, **variables: str) -> tuple[int | None, str, str]:
    """Run the verb: its status and its outputs."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "MOORAGE_"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "moorage", "health", service, *arguments,
        env={**kept, "REGISTRY_STORAGE": "inmemory", "COLUMNS": "200", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), error.decode()


@pytest.fixture
async def metadata(tmp_path: Path) -> AsyncIterator[tuple[RpcServer, str]]:
    """A service that serves the health service alone, and where."""
    address = f"unix://{tmp_path}/m.sock"
    server = RpcServer(Address.parse(address))
    await server.start()
    yield server, address
    await server.stop(0)


async def test_a_service_is_healthy_while_it_says_serving(metadata: tuple[RpcServer, str]) -> None:
    server, address = metadata
    await server.serving(True)
    variables = {"REGISTRY_SERVICES_METADATA_ADDR": address}
    assert await health("metadata", **variables) == (0, "metadata is healthy\n", "")
    await server.serving(False)
    assert await health("metadata", **variables) == (1, "", "moorage: metadata is not healthy\n")


async def test_the_answer_is_json_for_programs(metadata: tuple[RpcServer, str]) -> None:
    server, address = metadata
    variables = {"REGISTRY_SERVICES_METADATA_ADDR": address}
    for healthy, expected in ((True, 0), (False, 1)):
        await server.serving(healthy)
        status, out, error = await health("metadata", "--json", **variables)
        assert (status, error) == (expected, "")
        assert json.loads(out) == {"service": "metadata", "healthy": healthy}


async def test_a_service_with_a_name_is_asked_on_this_host() -> None:
    address = f"dns:///nobody-knows.invalid:{free_port()}"
    server = RpcServer(Address.parse(address))
    await server.start()
    await server.serving(True)
    try:
        variables = {"REGISTRY_SERVICES_INSECURE": "true", "REGISTRY_SERVICES_BLOB_ADDR": address}
        status, _, error = await health("blob", **variables)
        assert (status, error) == (0, "")
    finally:
        await server.stop(0)


async def test_a_service_with_a_certificate_is_asked_as_itself(tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    own.of_services("metadata", "notifier")
    variables = {f"REGISTRY_SERVICES_TLS_{key.upper()}": value for key, value in own.services().items()}
    address = f"127.0.0.1:{free_port()}"
    server = RpcServer(Address.parse(address), own.security("metadata"))
    await server.start()
    await server.serving(True)
    try:
        found = await health("metadata", **variables, REGISTRY_SERVICES_METADATA_ADDR=address)
        assert found == (0, "metadata is healthy\n", "")
        # Whoever else listens there is not the service.
        status, *_ = await health("notifier", **variables, REGISTRY_SERVICES_NOTIFIER_ADDR=address)
        assert status == 1
    finally:
        await server.stop(0)


async def test_nobody_there_is_not_healthy_within_the_time_given(tmp_path: Path) -> None:
    address = {"REGISTRY_SERVICES_NOTIFIER_ADDR": f"unix://{tmp_path}/nobody.sock"}
    assert await health("notifier", "--timeout", "200ms", **address) == (
        1,
        "",
        "moorage: notifier is not healthy\n",
    )


@pytest.mark.parametrize(("answer", "status"), [("200 OK", 0), ("401 Unauthorized", 0), ("503 No", 1)])
async def test_the_gateway_is_healthy_while_it_answers_the_version_check(answer: str, status: int) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await health("gateway", REGISTRY_HTTP_ADDR=f":{port}", REGISTRY_HTTP_PREFIX="/images/")
    assert result[0] == status, result
    assert asked == [b"GET /images/v2/ HTTP/1.1\r\n"]


async def test_a_wrong_command_line_or_configuration_is_status_2() -> None:
    status, _, error = await health("nonsense")
    assert status == 2
    assert "no service 'nonsense'; there are gateway, blob, metadata, notifier" in error, error
    status, _, error = await health("blob", REGISTRY_HTTP_DRAINTIMEOUT="soon")
    assert (status, error) == (2, "moorage: http.draintimeout: not a duration: 'soon'\n")
