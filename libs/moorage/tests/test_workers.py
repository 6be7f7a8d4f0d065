"""Several processes as one service: who is ready, what they count together, how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import moorage.workers.parent
import moorage.workers.roster
from moorage.config import Configuration, parse
from moorage.supervisor.errors import NeverReadyError
from moorage.supervisor.parent_death import SUPERVISED, WORKER
from moorage.workers import Fleet, Roster, Workers, enlisted, is_worker
from moorage.workers.metrics import Snapshot, Totals, decoded, encoded, snapshot
from moorage.workers.parent import run_workers
from moorage.workers.worker import ROSTER


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# Metrics


def counted(requests: int, under_way: int, took: float) -> Snapshot:
    """What a worker says that answered so many requests."""
    registry = CollectorRegistry()
    Counter("requests", "Requests.", ["code"], registry=registry).labels("200").inc(requests)
    Gauge("under_way", "Requests under way.", registry=registry).set(under_way)
    Histogram("took", "Seconds.", buckets=(1, 2), registry=registry).observe(took)
    return decoded(encoded(snapshot(registry)))


def values(text: bytes) -> dict[str, float]:
    """The samples of an exposition, without the times at which they were created."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines)
        if not name.split("{")[0].endswith("_created")
    }


def test_what_workers_count_adds_up() -> None:
    text = Totals().exposition([counted(3, 1, 0.5), counted(4, 2, 1.5)])
    assert b"# HELP requests_total Requests.\n# TYPE requests_total counter\n" in text
    assert values(text) == {
        'requests_total{code="200"}': 7,
        "under_way": 3,
        'took_bucket{le="1.0"}': 1,
        'took_bucket{le="2.0"}': 2,
        'took_bucket{le="+Inf"}': 2,
        "took_count": 2,
        "took_sum": 2,
    }


def test_a_worker_that_has_ended_still_counts_but_has_nothing_under_way() -> None:
    totals = Totals()
    totals.keep(counted(3, 1, 0.5))
    totals.keep(counted(10, 1, 0.5))
    found = values(totals.exposition([counted(4, 2, 1.5)]))
    assert found['requests_total{code="200"}'] == 17
    assert found["took_count"] == 3
    assert found["under_way"] == 2


def test_labels_that_one_worker_alone_has_seen_are_there() -> None:
    one: Snapshot = [("c", "Doc.", "counter", [("c_total", {"code": "200"}, 1.0)])]
    other: Snapshot = [("c", "Doc.", "counter", [("c_total", {"code": "404"}, 2.0)])]
    assert values(Totals().exposition([one, other])) == {'c_total{code="200"}': 1, 'c_total{code="404"}': 2}


def test_times_and_facts_are_not_added() -> None:
    def process(started: float) -> Snapshot:
        return [
            ("process_start_time_seconds", "Doc.", "gauge", [("process_start_time_seconds", {}, started)]),
            ("python_info", "Doc.", "gauge", [("python_info", {"version": "3"}, 1.0)]),
            ("c", "Doc.", "counter", [("c_total", {}, 1.0), ("c_created", {}, started)]),
        ]

    text = Totals().exposition([process(20), process(10)])
    assert values(text) == {"process_start_time_seconds": 10, 'python_info{version="3"}': 1, "c_total": 2}
    assert b"c_created 10.0" in text


# The roster


@pytest.fixture
async def roster() -> AsyncIterator[Roster]:
    with Roster.opened() as opened:
        yield opened


@contextlib.asynccontextmanager
async def worker_of(roster: Roster) -> AsyncIterator[Callable[[], None]]:
    """This process as its own worker: it inherits the socket by a duplicate."""
    async with enlisted({ROSTER: str(os.dup(roster.descriptor))}) as ready:
        yield ready


async def test_a_worker_is_ready_when_it_says_so(roster: Roster) -> None:
    async with worker_of(roster) as ready:
        await asyncio.sleep(0.05)
        assert not roster.has(os.getpid())
        ready()
        await until(lambda: roster.has(os.getpid()))
    roster.dismiss(os.getpid())
    assert not roster.has(os.getpid())


async def test_the_parent_asks_as_often_as_it_is_asked(roster: Roster) -> None:
    async with worker_of(roster) as ready:
        ready()
        await until(lambda: roster.has(os.getpid()))
        for _ in range(3):
            assert b"process_start_time_seconds" in await roster.exposition()
        together = await asyncio.gather(*(roster.exposition() for _ in range(5)))
        assert all(b"process_start_time_seconds" in text for text in together)


async def test_what_a_worker_said_last_stays_when_it_has_ended(roster: Roster) -> None:
    async with worker_of(roster) as ready:
        ready()
        await until(lambda: roster.has(os.getpid()))
        before = values(await roster.exposition())
    assert values(await roster.exposition())["process_open_fds"] == before["process_open_fds"]
    roster.dismiss(os.getpid())
    roster.dismiss(os.getpid())
    after = values(await roster.exposition())
    assert after["process_cpu_seconds_total"] == before["process_cpu_seconds_total"]
    assert "process_open_fds" not in after


async def test_a_worker_that_hangs_holds_up_nobody_for_long(roster: Roster, monkeypatch) -> None:
    monkeypatch.setattr(moorage.workers.roster, "_PATIENCE", 0.1)
    ours, theirs = socket.socketpair()
    inspected, inspects = socket.socketpair()
    with ours, inspected, socket.socket(fileno=os.dup(roster.descriptor)) as registry:
        with theirs, inspects:
            socket.send_fds(registry, [b"7 1"], [theirs.fileno(), inspects.fileno()])
        await until(lambda: roster.has(7))
        for _ in range(2):
            async with asyncio.timeout(2):
                assert await roster.exposition() == b""
        assert ours.recv(10) == b"?", "it is asked once, however often its answer is late"
        answer = encoded([("c", "Doc.", "counter", [("c_total", {}, 5.0)])])
        ours.sendall(len(answer).to_bytes(4, "big") + answer)
        await asyncio.sleep(0.1)
        assert values(await roster.exposition()) == {"c_total": 5}
        roster.dismiss(7)
        await asyncio.sleep(0)


async def test_a_message_without_a_connection_is_not_a_worker(roster: Roster) -> None:
    with socket.socket(fileno=os.dup(roster.descriptor)) as registry:
        registry.send(b"7")
        registry.send(b"")
        await asyncio.sleep(0.05)
    assert not roster.has(7)
    assert await roster.exposition() == b""


async def test_a_process_that_is_no_worker_reports_to_nobody() -> None:
    assert not is_worker({})
    assert is_worker({WORKER: "1"})
    async with enlisted({}) as ready:
        ready()


# The parent, with small programs in place of services


WORKS = """
import asyncio, os, pathlib, signal, sys
from moorage.cli.app import end_with_supervisor
from moorage.workers import enlisted

end_with_supervisor()
folder = pathlib.Path(sys.argv[1])

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with enlisted() as ready:
        (folder / f"{os.environ['MOORAGE_WORKER']}.{os.getpid()}").write_text(os.environ.get("OWN", ""))
        ready()
        await stop.wait()
        await asyncio.sleep(DRAINS)

asyncio.run(main())
"""
PARENT = """
import asyncio, os, pathlib, sys
from contextlib import asynccontextmanager

import moorage.workers.parent
from moorage.config import parse
from moorage.workers import Fleet, Workers

@asynccontextmanager
async def opened(config, roster):
    yield Fleet([{}, {}])

program, folder = sys.argv[1:]
moorage.workers.parent.serve_command = lambda *_: (sys.executable, program, folder)
workers = Workers(lambda config: 2, opened)
config = parse("version: 0.1\\nstorage: inmemory\\n", {})
asyncio.run(moorage.workers.parent.run_workers("service", workers, config, None, os.environ))
"""


@pytest.fixture
def running(tmp_path: Path, monkeypatch) -> Callable[..., Path]:
    """Puts a program in place of `moorage serve`; the folder in which its runs leave a file."""

    def put(script: str, drains: float = 0.0) -> Path:
        program = tmp_path / "program.py"
        program.write_text(script.replace("DRAINS", str(drains)))
        folder = tmp_path / "runs"
        folder.mkdir()
        command = (sys.executable, str(program), str(folder))
        monkeypatch.setattr(moorage.workers.parent, "serve_command", lambda *_: command)
        return folder

    return put


def config() -> Configuration:
    return parse("version: 0.1\nstorage: inmemory\nhttp: {draintimeout: 10s}\n", {})


def workers_of(fleet: Fleet) -> Workers:
    @contextlib.asynccontextmanager
    async def opened(_config: Configuration, _roster: Roster) -> AsyncIterator[Fleet]:
        yield fleet

    return Workers(lambda _config: len(fleet.environments), opened)


def pids(folder: Path, number: int) -> list[int]:
    return [int(path.suffix[1:]) for path in folder.glob(f"{number}.*")]


async def test_each_worker_has_what_is_its_own_and_what_all_have(running) -> None:
    folder = running(WORKS)
    fleet = Fleet([{"OWN": "first"}, {"OWN": "second"}, {"OWN": None}])
    environ = {**os.environ, "OWN": "the parent's"}
    task = asyncio.create_task(run_workers("service", workers_of(fleet), config(), None, environ))
    await until(lambda: len(list(folder.iterdir())) == 3)
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await task
    assert [path.read_text() for path in sorted(folder.iterdir())] == ["first", "second", ""]


async def test_workers_stop_together_after_what_they_share_was_closed(running) -> None:
    folder = running(WORKS, drains=1.0)
    closed: list[int] = []

    def close() -> None:
        closed.append(sum(psutil.pid_exists(pid) for number in (1, 2, 3) for pid in pids(folder, number)))

    fleet = Fleet([{}, {}, {}], close=close)
    task = asyncio.create_task(run_workers("service", workers_of(fleet), config(), None, os.environ))
    await until(lambda: len(list(folder.iterdir())) == 3)
    await asyncio.sleep(0.3)
    loop = asyncio.get_running_loop()
    os.kill(os.getpid(), signal.SIGINT)
    started = loop.time()
    assert await task
    assert 1.0 <= loop.time() - started < 2.5, "one after the other takes three seconds"
    assert closed == [3]


async def test_a_worker_that_dies_is_started_again_and_the_others_go_on(running) -> None:
    folder = running(WORKS)
    task = asyncio.create_task(
        run_workers("service", workers_of(Fleet([{}, {}])), config(), None, os.environ)
    )
    await until(lambda: pids(folder, 1) and pids(folder, 2))
    await asyncio.sleep(0.3)
    (victim,), (other,) = pids(folder, 1), pids(folder, 2)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(pids(folder, 1)) == 2)
    assert pids(folder, 2) == [other]
    assert psutil.Process(other).is_running()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await task


async def test_a_worker_that_cannot_start_ends_all_of_them_with_its_reason(running) -> None:
    refusal = "if os.environ['MOORAGE_WORKER'] == '2':\n    sys.exit('moorage: no room for me')\n"
    folder = running(f"import os, sys\n{refusal}{WORKS}")
    with pytest.raises(NeverReadyError, match=r"^service worker 2: no room for me$"):
        await run_workers("service", workers_of(Fleet([{}, {}])), config(), None, os.environ)
    assert not [pid for pid in pids(folder, 1) if psutil.pid_exists(pid)]


async def test_a_worker_that_does_not_drain_in_time_is_killed_and_the_end_is_not_clean(
    running, monkeypatch
) -> None:
    folder = running(WORKS, drains=60)
    monkeypatch.setattr(moorage.workers.parent, "DRAIN_MARGIN", 1.0)
    quick = parse("version: 0.1\nstorage: inmemory\nhttp: {draintimeout: 0s}\n", {})
    task = asyncio.create_task(run_workers("service", workers_of(Fleet([{}, {}])), quick, None, os.environ))
    await until(lambda: pids(folder, 1) and pids(folder, 2))
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    assert not await task
    assert not [pid for number in (1, 2) for pid in pids(folder, number) if psutil.pid_exists(pid)]


def test_workers_end_at_once_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program, folder = tmp_path / "program.py", tmp_path / "runs"
    # It would drain for a minute after a SIGTERM.
    program.write_text(WORKS.replace("DRAINS", "60"))
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in (SUPERVISED, WORKER)}
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), program, folder],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        asyncio.run(until(lambda: pids(folder, 1) and pids(folder, 2)))
        workers = [psutil.Process(pids(folder, number)[0]) for number in (1, 2)]
        parent.kill()
    finally:
        parent.kill()
        parent.wait(10)
    asyncio.run(until(lambda: all(_is_gone(worker) for worker in workers), seconds=5))


def _is_gone(process: psutil.Process) -> bool:
    # A container's first process may not collect the orphans that it gets.
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
