"""A listening socket from systemd: what a process of its own makes of what it is handed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api_gateway.activation import activated
from support.processes import free_port, wait_until
from support.registry import MOORAGE, clean_environment

# As systemd does: LISTEN_PID is the process that it has just become, and the sockets begin at descriptor 3.
BECOME = """
import os, sys
given, program = int(sys.argv[1]), sys.argv[2:]
if given != 3:
    os.dup2(given, 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(program[0], program)
"""


def activate(listener: socket.socket, *program: str | Path, count: str = "1") -> list[str | Path]:
    """The command that hands a socket to a program, whose LISTEN_FDS is `count`."""
    listener.set_inheritable(True)
    command = [sys.executable, "-c", BECOME, str(listener.fileno()), *program]
    return ["env", f"LISTEN_FDS={count}", "LISTEN_FDNAMES=moorage", *command]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def config(folder: Path, address: str) -> Path:
    file = folder / "config.yml"
    file.write_text(f"version: 0.1\nstorage: inmemory\nhttp: {{addr: '{address}', draintimeout: 0s}}\n")
    return file


def test_the_gateway_serves_on_the_socket_and_not_on_its_address(
    listener: socket.socket, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    command = activate(listener, MOORAGE, "serve", "gateway", "-c", config(tmp_path, address))
    env = {**clean_environment(), "REGISTRY_HTTP_WORKERS": "2"}
    log = tmp_path / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            pass_fds=[listener.fileno()],
        )
    host, port = listener.getsockname()
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                # No other service is there: the gate is shut, but somebody answers.
                return httpx.get(f"http://{host}:{port}/", timeout=2).status_code in (200, 503)
            except httpx.HTTPError:
                return False

        wait_until(answers, timeout=120, what="the gateway answers on the socket")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{address}/", timeout=5)
        assert "the listener is systemd's" in log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=60)


def outcome(listener: socket.socket, *, count: str = "1") -> str:
    """What a process says that asks for the socket: its address, nothing, or what is wrong."""
    program = (
        "from api_gateway.activation import activated\n"
        "try:\n"
        "    found = activated()\n"
        "    print(found and found.getsockname()[1])\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [str(part) for part in activate(listener, sys.executable, "-c", program, count=count)],
        capture_output=True,
        text=True,
        timeout=60,
        pass_fds=[listener.fileno()],
        check=True,
    )
    return result.stdout.strip()


def test_exactly_one_socket_is_taken(listener: socket.socket) -> None:
    assert outcome(listener) == str(listener.getsockname()[1])
    assert outcome(listener, count="2") == "socket activation: exactly one socket is taken, not 2"
    assert outcome(listener, count="0") == "None"


def test_what_does_not_listen_is_refused() -> None:
    with socket.socket() as idle:
        assert outcome(idle) == "socket activation: descriptor 3 is not a listening stream socket"


def test_what_is_meant_for_another_process_is_left_alone() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}
    assert activated(environ) is None
    assert environ == {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}
    assert activated({}) is None
