from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.measure import Meter, cpu_seconds, cpu_seconds_in, peak_memory, summed
from bench.registries import part_of_moorage

TICK = os.sysconf("SC_CLK_TCK")


def spin(seconds: float) -> list[str | Path]:
    code = f"import time\nwhile time.process_time() < {seconds}: pass"
    return [sys.executable, "-c", code]


def test_processor_time_is_user_and_system_time_with_that_of_ended_children() -> None:
    stat = "17 (a ) name) S 1 17 17 0 -1 4194560 100 0 0 0 7 5 30 2 20 0 1 0 100 0 0"
    assert cpu_seconds_in(stat) == (7 + 5 + 30 + 2) / TICK


def test_processor_time_of_a_tree_counts_children_that_ended() -> None:
    before = cpu_seconds(os.getpid())
    subprocess.run(spin(0.3), check=True)
    assert cpu_seconds(os.getpid()) - before >= 0.29


def test_a_part_s_memory_is_the_sum_over_its_processes() -> None:
    parts = summed([("gateway", 10, 30), ("blob", 1, 2), ("gateway", 11, 20)])
    assert [(part.part, part.idle, part.peak) for part in parts] == [("blob", 1, 2), ("gateway", 21, 50)]


def test_a_meter_sees_what_a_process_and_its_workers_use() -> None:
    worker = "b = bytearray(64 << 20); import time\nwhile time.process_time() < 0.3: pass\ninput()"
    code = (
        "import subprocess, sys; input(); "
        f"w = subprocess.Popen([sys.executable, '-c', {worker!r}], stdin=subprocess.PIPE); "
        "input(); w.communicate(b'\\n')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        meter = Meter(process.pid, lambda command: "root" if "subprocess" in " ".join(command) else None)
        meter.start()
        process.stdin.write(b"\n")
        process.stdin.flush()
        while cpu_seconds(process.pid) < 0.3:
            assert process.poll() is None
        usage = meter.stop()
        process.stdin.write(b"\n")
    assert usage.cpu_seconds >= 0.25
    (memory,) = usage.memory  # the worker belongs to the part of its parent
    assert memory.part == "root"
    assert memory.peak - memory.idle >= 64 << 20


def test_the_services_are_told_apart_by_their_command_lines() -> None:
    python = "/venv/bin/python"
    assert part_of_moorage([python, "-m", "moorage", "serve", "blob", "-c", "c.yml"]) == "blob"
    assert part_of_moorage([python, "/venv/bin/moorage", "up", "-c", "c.yml"]) == "supervisor"
    assert part_of_moorage(["/venv/bin/nats-server", "--config", "nats.conf"]) == "nats-server"
    assert part_of_moorage([python, "-c", "from multiprocessing.spawn import spawn_main"]) is None


def test_a_process_that_has_ended_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not waited for
        assert peak_memory(process.pid) is None
    assert peak_memory(process.pid) is None
    assert (peak_memory(os.getpid()) or 0) > 1 << 20
