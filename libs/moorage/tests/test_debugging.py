"""The debug listener: its pages over real HTTP, with profiles that a profile's reader reads."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from moorage.config import parse
from moorage.config.effective import effective
from moorage.debugging import Pages, ServiceHealth, debug_server
from moorage.inspection import publish
from moorage.rpc import Address, RpcServer
from moorage.v1 import pprof_pb2
from support.processes import free_port


class Switch:
    """A health that can be switched, as a gateway's."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}
        self.degraded: dict[str, str] = {}

    def fail(self, name: str, reason: str) -> None:
        self.errors[name] = reason

    def recover(self, name: str) -> None:
        self.errors.pop(name, None)


Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def served(pages: Pages | None = None) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    async with (
        debug_server(f"127.0.0.1:{port}", pages or Pages(Switch())),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield client


async def test_without_an_address_there_is_no_listener() -> None:
    for addr in (None, ""):
        async with debug_server(addr, Pages(Switch())):
            pass


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addr = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            OSError, match=rf"cannot listen on {addr} for debugging: .*[Aa]ddress already in use"
        ):
            async with debug_server(addr, Pages(Switch())):
                pass


async def test_readiness_and_liveness_are_two_questions() -> None:
    health = Switch()
    async with served(Pages(health)) as client:
        assert (
            (await client.get("/debug/health")).status_code,
            (await client.get("/debug/health")).json(),
        ) == (
            200,
            {},
        )
        health.degraded["cache"] = "away"
        answer = await client.get("/debug/health")
        assert (answer.status_code, answer.json()) == (200, {"cache": "away"})
        health.errors["storagedriver_s3"] = "no answer"
        answer = await client.get("/debug/health")
        assert (answer.status_code, answer.json()) == (
            503,
            {"cache": "away", "storagedriver_s3": "no answer"},
        )
        assert (await client.get("/debug/alive")).status_code == 200


async def test_a_person_switches_the_health_and_a_web_page_does_not() -> None:
    health = Switch()
    async with served(Pages(health)) as client:
        assert (
            await client.post("/debug/health/down", headers={"Origin": "http://a.example"})
        ).status_code == 403
        assert (await client.get("/debug/health/down")).status_code == 404
        assert health.errors == {}
        assert (await client.post("/debug/health/down")).status_code == 200
        assert health.errors == {"manual_http_status": "manual check"}
        assert (await client.post("/debug/health/up")).status_code == 200
        assert health.errors == {}


async def test_a_service_behind_the_gateway_shows_what_its_grpc_health_says() -> None:
    server = RpcServer(Address.parse(f"127.0.0.1:{free_port()}"))
    await server.start()
    config = parse("version: 0.1\nstorage: inmemory\nhttp: {debug: {prometheus: {path: /numbers}}}\n", {})
    try:
        async with served(Pages.of_service(config, ServiceHealth(server))) as client:
            answer = await client.get("/debug/health")
            assert (answer.status_code, list(answer.json())) == (503, ["serving"])
            await server.serving(True)
            await server.report("moorage.DescriptorCache", well=False)
            answer = await client.get("/debug/health")
            assert (answer.status_code, list(answer.json())) == (200, ["moorage.DescriptorCache"])
            assert (await client.post("/debug/health/down")).status_code == 404
            assert (await client.get("/metrics")).status_code == 404
            assert "python_info" in (await client.get("/numbers")).text
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/metrics"),
        ("PUT", "/debug/vars"),
        ("GET", "/debug/pprof/mutex"),
        ("GET", "/debug/nothing"),
    ],
)
async def test_there_is_nothing_else(method: str, path: str) -> None:
    async with served(Pages(Switch(), metrics_path=None)) as client:
        assert (await client.request(method, path)).status_code == 404


async def test_answers_are_kept_by_nobody_and_taken_for_nothing_else() -> None:
    async with served() as client:
        answer = await client.head("/debug/vars")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 100


# Variables


async def test_variables_have_the_shape_of_go_s_and_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = parse(
        "version: 0.1\nstorage: inmemory\nredis: {addr: 'localhost:6379', password: hush-hush}\n", {}
    ).redis
    publish("redis", lambda: {"Config": effective(redis), "Active": True})
    command = ["moorage", "serve", "--password", "hush-hush", "--secret=hush-hush", "-c", "config.yml"]
    monkeypatch.setattr(sys, "orig_argv", command)
    async with served() as client:
        text = (await client.get("/debug/vars")).text
        command_line = (await client.get("/debug/pprof/cmdline")).text
    assert "hush-hush" not in text + command_line
    variables = json.loads(text)
    assert variables["cmdline"] == [
        "moorage",
        "serve",
        "--password",
        "***",
        "--secret=***",
        "-c",
        "config.yml",
    ]
    assert command_line.split("\0") == variables["cmdline"]
    assert variables["registry"]["redis"]["Config"]["password"] == "***"
    assert variables["registry"]["redis"]["Config"]["addr"] == "localhost:6379"
    assert 10 * 2**20 < variables["memstats"]["Resident"] < variables["memstats"]["Sys"]
    assert variables["process"]["version"]


# Profiles


def read(content: bytes) -> pprof_pb2.Profile:
    profile = pprof_pb2.Profile()
    profile.ParseFromString(gzip.decompress(content))
    return profile


def functions_in(profile: pprof_pb2.Profile) -> dict[str, int]:
    """How much of the last kind of value stands below each function."""
    names = {each.id: profile.string_table[each.name] for each in profile.function}
    locations = {each.id: names[each.line[0].function_id] for each in profile.location}
    found: dict[str, int] = {}
    for sample in profile.sample:
        for name in {locations[each] for each in sample.location_id}:
            found[name] = found.get(name, 0) + sample.value[-1]
    return found


async def burn_the_loop(until: asyncio.Event) -> None:
    while not until.is_set():
        for _ in range(20):
            hashlib.sha256(bytes(20_000)).digest()
        await asyncio.sleep(0)


@asynccontextmanager
async def burning() -> AsyncIterator[None]:
    done = asyncio.Event()
    task = asyncio.create_task(burn_the_loop(done), name="burner")
    try:
        yield
    finally:
        done.set()
        await task


async def test_a_cpu_profile_shows_where_the_loop_s_time_goes() -> None:
    async with served() as client, burning():
        answer = await client.get("/debug/pprof/profile", params={"seconds": "0.5"})
    assert answer.headers["content-disposition"] == 'attachment; filename="profile.pb.gz"'
    profile = read(answer.content)
    kinds = [profile.string_table[each.type] for each in profile.sample_type]
    units = [profile.string_table[each.unit] for each in profile.sample_type]
    assert (kinds, units) == (["samples", "wall"], ["count", "nanoseconds"])
    assert 0.4e9 < profile.duration_nanos < 0.6e9
    spent = functions_in(profile)
    assert spent["burn_the_loop"] > 0.5 * max(spent.values())


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("speedscope", "application/json"),
        ("html", "text/html; charset=utf-8"),
        ("text", "text/plain; charset=utf-8"),
    ],
)
async def test_a_cpu_profile_in_other_forms(form: str, content_type: str) -> None:
    async with served() as client, burning():
        answer = await client.get("/debug/pprof/profile", params={"seconds": "0.2", "format": form})
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert "burn_the_loop" in answer.text


async def test_a_heap_profile_shows_what_was_allocated_and_not_freed() -> None:
    kept: list[bytes] = []

    async def allocate() -> None:
        await asyncio.sleep(0.1)
        kept.append(bytes(5_000_000))

    async with served() as client:
        _, answer = await asyncio.gather(
            allocate(), client.get("/debug/pprof/heap", params={"seconds": "0.4"})
        )
        _, text = await asyncio.gather(
            allocate(), client.get("/debug/pprof/heap", params={"seconds": "0.4", "debug": "1"})
        )
    assert kept
    profile = read(answer.content)
    kinds = [profile.string_table[each.type] for each in profile.sample_type]
    assert kinds == ["inuse_objects", "inuse_space"]
    here = [size for name, size in functions_in(profile).items() if name.startswith("test_debugging.py:")]
    assert max(here) >= 5_000_000
    assert "test_debugging.py" in text.text


async def test_a_process_is_profiled_once_at_a_time() -> None:
    async with served() as client:
        first = asyncio.create_task(client.get("/debug/pprof/profile", params={"seconds": "2"}))
        started = time.monotonic()
        while "inspection/cpu.py" not in (await client.get("/debug/pprof/tasks")).text:
            assert time.monotonic() - started < 5
        answer = await client.get("/debug/pprof/heap?seconds=0.01")
        assert answer.status_code == 409
        assert "another profile" in answer.text
        assert (await client.get("/debug/pprof/tasks")).status_code == 200
        assert (await first).status_code == 200


async def test_a_profile_ends_when_nobody_waits_for_it() -> None:
    async with served() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/debug/pprof/profile", params={"seconds": "100"}, timeout=0.3)
        started = time.monotonic()
        while (await client.get("/debug/pprof/heap?seconds=0.01")).status_code != 200:
            assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "query", ["seconds=0", "seconds=-1", "seconds=121", "seconds=nan", "seconds=x", "format=flame"]
)
async def test_parameters_that_make_no_sense_are_told(query: str) -> None:
    async with served() as client:
        answer = await client.get(f"/debug/pprof/profile?{query}")
    assert answer.status_code == 400
    assert answer.text.startswith(("seconds must be", "format must be"))


class Debugger:
    """Waits in a coroutine of a coroutine."""

    async def outer(self) -> None:
        await self.inner()

    async def inner(self) -> None:
        await asyncio.Event().wait()


async def test_tasks_and_threads_are_shown_where_they_stand() -> None:
    waiting = [asyncio.create_task(Debugger().outer(), name=f"waiter-{number}") for number in range(3)]
    async with served() as client:
        tasks = (await client.get("/debug/pprof/tasks")).text
        threads = (await client.get("/debug/pprof/threads")).text
        index = (await client.get("/debug/pprof/")).text
    for task in waiting:
        task.cancel()
    assert "3 x waiter-0, waiter-1, waiter-2" in tasks
    # Down to what is awaited, not only the task's own coroutine.
    assert re.search(r"in Debugger\.outer\n.*\n.*in Debugger\.inner\n", tasks)
    assert "MainThread" in threads
    assert "in test_tasks_and_threads" not in threads
    assert "/debug/pprof/heap" in index


async def test_there_is_one_worker_where_there_is_one_process() -> None:
    async with served() as client:
        assert (await client.get("/debug/pprof/threads?worker=1")).status_code == 200
        for other in ("2", "x", "99999999999"):
            assert (await client.get(f"/debug/pprof/threads?worker={other}")).status_code == 404
