"""Real clients that keep their images in a folder of the test's: docker with an engine, podman, skopeo."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from support.processes import Process, required, run, wait_until


class DockerEngine:
    """A Docker Engine of our own: no bridge, no firewall rules, its images in a folder that goes with it."""

    def __init__(self, folder: Path) -> None:
        assert os.geteuid() == 0, "the Docker Engine needs root: run the tests as root"
        folder.mkdir(parents=True, exist_ok=True)
        self._short = tempfile.TemporaryDirectory(prefix="moorage-engine-")
        short = Path(self._short.name)
        self._socket = f"unix://{short}/docker.sock"
        self._docker = required("docker")
        self._process = Process(
            [
                required("dockerd"),
                "--data-root", folder / "data",
                "--exec-root", short / "exec",
                "--pidfile", short / "docker.pid",
                "-H", self._socket,
                "--bridge", "none",
                "--iptables=false",
                "--ip6tables=false",
            ],
            log=folder / "dockerd.log",
        )  # fmt: skip
        wait_until(self._answers, timeout=60, what="the Docker Engine answers")

    def _answers(self) -> bool:
        assert self._process.running(), f"dockerd ended:\n{self._process.tail()}"
        try:
            self("info")
        except AssertionError:
            return False
        return True

    def __call__(self, *arguments: str | Path, timeout: float = 180) -> str:
        """Run a docker command; fails with its output when it fails."""
        return run(self._docker, "-H", self._socket, *arguments, timeout=timeout)

    def stop(self) -> None:
        self._process.stop(timeout=60)
        self._short.cleanup()


class Podman:
    """podman with its storage in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._podman = required("podman")
        self._storage: list[str | Path] = [
            "--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs",
            "--cgroup-manager", "cgroupfs",
        ]  # fmt: skip

    def __call__(self, *arguments: str | Path, timeout: float = 180) -> str:
        return run(self._podman, *self._storage, *arguments, timeout=timeout)


def skopeo(*arguments: str | Path, timeout: float = 180) -> str:
    """Run a skopeo command."""
    return run(required("skopeo"), "--insecure-policy", *arguments, timeout=timeout)


def skopeo_copy(source: str, destination: str, *options: str) -> None:
    """Copy an image between transports, over plain HTTP."""
    skopeo(
        "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, destination
    )
