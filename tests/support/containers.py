"""A Docker Engine with networks, published ports and all, that touches nothing of this machine.

dockerd runs in namespaces of its own (network, processes, mounts): its bridges, firewall rules, images and
containers are not this machine's, and end with it. slirp4netns is its way out (packages for the builds), and
leads ports of this machine's loopback interface to it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from support.processes import (
    Process,
    free_port,
    required,
    run,
    wait_for_network_of_its_own,
    wait_until,
)

# What slirp4netns gives to what is behind it: an address of its own, and one for this machine's loopback.
_GUEST = "10.0.2.100"
HOST = "10.0.2.2"


class ContainerEngine:
    """The engine: call it as `docker`, `compose` it."""

    def __init__(self, folder: Path) -> None:
        assert os.geteuid() == 0, "the Docker Engine needs root: run the tests as root"
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._short = tempfile.TemporaryDirectory(prefix="moorage-engine-")
        short = Path(self._short.name)
        self.host = f"unix://{short}/docker.sock"
        self._api = short / "slirp.sock"
        dockerd = [
            required("dockerd"),
            "--data-root", "/run/moorage-engine",
            "--exec-root", short / "exec",
            "--pidfile", short / "docker.pid",
            "-H", self.host,
        ]  # fmt: skip
        # The shims' sockets have a folder of their own as well. Images are in memory: building them is bound
        # by the disk otherwise, and nothing is left to be removed.
        prepare = (
            "ip link set lo up; "
            "for folder in /run/containerd /run/moorage-engine; "
            "do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done; "
            'exec "$@"'
        )
        namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._process = Process(
            [*namespaces, "sh", "-ec", prepare, "sh", *dockerd], log=folder / "dockerd.log"
        )
        self._engine: psutil.Process | None = None
        self._slirp: Process | None = None
        try:
            self._engine = wait_until(self._first_process, timeout=30, what="dockerd runs")
            self._slirp = self._connect()
            wait_until(self._answers, timeout=60, what="the Docker Engine answers")
        except BaseException:
            self.stop()
            raise

    def _first_process(self) -> psutil.Process | None:
        """The process that is dockerd, once it is in its namespaces."""
        assert self._process.running(), f"unshare ended:\n{self._process.tail()}"
        children = psutil.Process(self._process.pid).children()
        return children[0] if children and children[0].name() in ("sh", "dockerd") else None

    def _connect(self) -> Process:
        wait_for_network_of_its_own(self._engine.pid)
        slirp = Process(
            [
                required("slirp4netns"), "--configure", "--mtu", "65520",
                "--api-socket", self._api, "--netns-type", "path", f"/proc/{self._engine.pid}/ns/net", "tap0",
            ],
            log=self._folder / "slirp4netns.log",
        )  # fmt: skip
        wait_until(self._api.exists, timeout=10, what="slirp4netns has a socket")
        return slirp

    def _answers(self) -> bool:
        assert self._process.running(), f"dockerd ended:\n{self._process.tail()}"
        try:
            self("info")
        except AssertionError:
            return False
        return True

    @property
    def environment(self) -> dict[str, str]:
        """What makes a client use this engine."""
        return {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}

    def __call__(self, *arguments: str | Path, timeout: float = 300) -> str:
        """Run a docker command; fails with its output when it fails."""
        return run(required("docker"), *arguments, timeout=timeout, env=self.environment)

    def client(self, folder: Path) -> Callable[..., str]:
        """Docker for a user of its own, who keeps passwords in `folder`."""
        environment = {**self.environment, "DOCKER_CONFIG": str(folder)}
        return partial(run, required("docker"), timeout=120, env=environment)

    def inside(self, *command: str | Path, timeout: float = 60) -> str:
        """Run a command in the engine's network, where its published ports are."""
        return run("nsenter", "--net", "-t", str(self._engine.pid), *command, timeout=timeout)

    def publish(self, port: int) -> int:
        """A free port of this machine's loopback interface that leads to a published port of the engine."""
        ours = free_port()
        request = {
            "execute": "add_hostfwd",
            "arguments": {
                "proto": "tcp", "host_addr": "127.0.0.1", "host_port": ours,
                "guest_addr": _GUEST, "guest_port": port,
            },
        }  # fmt: skip
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._api))
            client.sendall(json.dumps(request).encode())
            client.shutdown(socket.SHUT_WR)
            answer = json.loads(client.makefile().read())
        assert "error" not in answer, answer
        return ours

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self("inspect", *names))
        return found

    def kill_process(self, container: str) -> None:
        """SIGKILL to a container's first process, as when it crashes. What `docker kill` ends stays ended."""
        inner = self.inspect(container)[0]["State"]["Pid"]
        for process in self._engine.children(recursive=True):
            if _pid_inside(process.pid, depth=1) == inner:
                process.send_signal(signal.SIGKILL)
                return
        raise AssertionError(f"no process {inner} of {container}")

    def stop(self) -> None:
        """End the engine with all that it runs."""
        if self._engine is not None and self._engine.is_running():
            self._engine.kill()  # it is the first process of its namespace: all end with it
            self._engine.wait(30)
        self._process.stop(timeout=30)
        if self._slirp is not None:
            self._slirp.kill()
        self._short.cleanup()


def _pid_inside(pid: int, *, depth: int) -> int | None:
    """A process's id in the namespace that is `depth` below ours."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                ids = line.split()[1:]
                return int(ids[depth]) if len(ids) > depth else None
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return None
    return None


def old_compose() -> str:
    """`docker-compose` 1.29, Debian's."""
    return required("docker-compose")


def new_compose() -> str:
    """What `docker compose` is today, as a program of its own: it is in the virtual environment."""
    program = Path(sys.executable).with_name("docker-compose")
    assert program.exists(), f"{program} is not there: make setup"
    return str(program)


class Compose:
    """A project of docker compose, by one of its generations."""

    def __init__(
        self,
        engine: ContainerEngine,
        project: str,
        files: Sequence[Path],
        env: Mapping[str, str],
        program: str,
    ) -> None:
        self.engine = engine
        self._project = project
        self._env = {**engine.environment, **env}
        self._command = [program, "-p", project]
        for file in files:
            self._command += ["-f", str(file)]

    def __call__(self, *arguments: str, timeout: float = 600) -> str:
        return run(*self._command, *arguments, timeout=timeout, env=self._env)

    def containers(self, *services: str) -> list[str]:
        """The ids of these services' containers, or of all, whether they run or not.

        The engine is asked: compose takes a second of a processor to start.
        """
        ours = f"label=com.docker.compose.project={self._project}"
        found = self.engine(
            "ps", "-a", "--no-trunc", "--filter", ours,
            "--format", '{{.ID}} {{.Label "com.docker.compose.service"}}',
        )  # fmt: skip
        pairs = (line.split() for line in found.splitlines())
        return sorted(container for container, service in pairs if not services or service in services)

    def wait_healthy(self, *services: str, timeout: float = 120) -> None:
        """Wait until every container of these services, or of all, is healthy."""

        def healthy() -> bool:
            ids = self.containers(*services)
            return bool(ids) and all(
                each["State"]["Running"] and each["State"]["Health"]["Status"] == "healthy"
                for each in self.engine.inspect(*ids)
            )

        try:
            wait_until(healthy, timeout=timeout, what=f"{', '.join(services) or 'all'} healthy")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self('ps')}\n{self('logs', '--tail=20')}") from None
