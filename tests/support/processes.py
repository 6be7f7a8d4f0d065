"""Real processes on free ports: start, watch, kill, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

_T = TypeVar("_T")


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], _T], *, timeout: float, what: str) -> _T:
    """Poll until `condition` gives something true, and give that; fail naming `what` after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.02)
    return found


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended. A container's first process may not collect the orphans that it gets."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for_network_of_its_own(pid: int) -> None:
    """Wait until a process that is starting has left our network namespace for another one."""
    wait_until(
        lambda: os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"),
        timeout=10,
        what="a network namespace",
    )


def accepts_connections(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def required(program: str) -> str:
    """The path of a program that a test needs; fails with a word on how to install it."""
    found = shutil.which(program, path=f"/usr/bin:/usr/sbin:{os.environ['PATH']}")
    assert found, f"{program} is not installed: run scripts/test-setup.sh (make test does)"
    return found


def run(*command: str | Path, timeout: float = 120, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and give its standard output; fails with both outputs when it fails.

    `env` is what it has beside the test's own environment.
    """
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert result.returncode == 0, (
        f"{' '.join(map(str, command))}\nexit {result.returncode}\n{result.stdout}\n{result.stderr}"
    )
    return result.stdout


class Process:
    """A program in its own session, with its output in a file and, when given, an environment of its own."""

    def __init__(self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None):
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        if self.running():
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until the kernel has taken it away."""
        self.signal(signal.SIGKILL)
        self._process.wait(timeout=10)

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, and the exit code; fails when it does not drain in time."""
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
            raise AssertionError(f"did not stop in {timeout:g} s:\n{self.tail()}") from None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def tree(self) -> list[psutil.Process]:
        """The process and all that descend from it."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]


def peak_memory(pid: int) -> int:
    """The most resident memory that a process has had, bytes (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmHWM of process {pid}")


def reset_peak_memory(pid: int) -> None:
    """Let VmHWM count from now on (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
