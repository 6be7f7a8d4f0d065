"""Real clients that keep their images in a folder of the test's: docker with an engine, podman, skopeo."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support.images import Image, write_oci_layout
from support.processes import Process, required, run, wait_until


class DockerEngine:
    """A Docker Engine of our own: no bridge, no firewall rules, its images in a folder that goes with it.

    With `hosts`, names with their addresses, it knows these hosts and no others, and has an /etc/docker of
    its own at `folder`/etc, for the certificates of registries. A registry at a loopback address of IPv4 it
    would take without looking at the certificate.
    """

    def __init__(self, folder: Path, *, hosts: Mapping[str, str] | None = None) -> None:
        assert os.geteuid() == 0, "the Docker Engine needs root: run the tests as root"
        folder.mkdir(parents=True, exist_ok=True)
        self._short = tempfile.TemporaryDirectory(prefix="moorage-engine-")
        short = Path(self._short.name)
        self._socket = f"unix://{short}/docker.sock"
        self._docker = required("docker")
        self.etc = folder / "etc"
        self._process = Process(
            [
                *(self._namespace(folder, hosts) if hosts is not None else ()),
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

    def _namespace(self, folder: Path, hosts: Mapping[str, str]) -> list[str | Path]:
        """The command before dockerd that gives it other files in /etc, which nobody else sees."""
        self.etc.mkdir()
        Path("/etc/docker").mkdir(exist_ok=True)
        return knowing(hosts, folder / "hosts", f"mount --bind {self.etc} /etc/docker")

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
    """podman with its images in a folder. It takes no run root of more than 50 characters."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._podman = required("podman")
        self._short = tempfile.TemporaryDirectory(prefix="moorage-podman-")
        self._storage: list[str | Path] = [
            "--root", folder / "root", "--runroot", self._short.name, "--storage-driver", "vfs",
            "--cgroup-manager", "cgroupfs",
        ]  # fmt: skip

    def __call__(self, *arguments: str | Path, timeout: float = 180) -> str:
        return run(self._podman, *self._storage, *arguments, timeout=timeout)

    def stop(self) -> None:
        self._short.cleanup()


def knowing(hosts: Mapping[str, str], file: Path, further: str = "true") -> list[str | Path]:
    """What comes before a command that is to know these hosts and no others, by way of a file."""
    file.write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
    prepare = f'mount --bind {file} /etc/hosts && {further} && exec "$@"'
    return ["unshare", "--mount", "sh", "-ec", prepare, "sh"]


def skopeo(*arguments: str | Path, timeout: float = 180, before: Sequence[str | Path] = ()) -> str:
    """Run a skopeo command, behind what comes `before` it."""
    return run(*before, required("skopeo"), "--insecure-policy", *arguments, timeout=timeout)


def skopeo_copy(source: str, destination: str, *options: str) -> None:
    """Copy an image between transports, over plain HTTP."""
    skopeo(
        "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, destination
    )


def load_image(docker: Callable[..., str], image: Image, folder: Path, *names: str) -> None:
    """Give an engine an image under these names, by files in a folder."""
    layout = write_oci_layout(folder / "loaded", {"one": image})
    skopeo_copy(f"oci:{layout}:one", f"docker-archive:{folder}/image.tar:{names[0]}")
    docker("load", "-i", folder / "image.tar")
    for name in names[1:]:
        docker("tag", names[0], name)
