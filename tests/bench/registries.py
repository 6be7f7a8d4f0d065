"""The two registries, as an operator runs them: one configuration, a folder on this machine each."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench.measure import Meter
from support.processes import Process, free_port, required, wait_until
from support.registry import clean_environment

MOORAGE = "moorage"
PEER = "docker-registry"
NAMES = (MOORAGE, PEER)

_BIN = Path(sys.executable).parent
_SERVICES = ("gateway", "blob", "metadata", "notifier")


def configuration(root: Path, address: str, *, quiet: bool, further: str = "") -> str:
    """The configuration of either registry. What it leaves out has each one's default."""
    log = (
        "{level: error, accesslog: {disabled: true}}"
        if quiet
        else "{level: info, accesslog: {disabled: false}}"
    )
    return (
        "version: 0.1\n"
        f"log: {log}\n"
        "storage:\n"
        f"  filesystem: {{rootdirectory: {root}}}\n"
        "  delete: {enabled: true}\n"
        "  cache: {blobdescriptor: inmemory}\n"
        f"http: {{addr: '{address}', secret: bench}}\n"
        f"{further}"
    )


def part_of_moorage(command: list[str]) -> str | None:
    """The service that a command line runs; the supervisor for `moorage up`."""
    if not command:
        return None
    if Path(command[0]).name == "nats-server":
        return "nats-server"
    if "serve" in command:
        return next((name for name in _SERVICES if name in command), None)
    return "supervisor" if "up" in command else None


def _part_of_the_peer(command: list[str]) -> str | None:
    return PEER


class Registry:
    """A registry under test over the storage tree `root`; its configuration and its log are in `folder`.

    `further` is what its configuration has beside.
    """

    def __init__(self, name: str, root: Path, folder: Path, *, quiet: bool, further: str = "") -> None:
        self.name = name
        self.root = root
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        folder.mkdir(parents=True, exist_ok=True)
        root.mkdir(parents=True, exist_ok=True)
        config = folder / f"{name}.yml"
        config.write_text(configuration(root, self.address, quiet=quiet, further=further))
        # Moorage's sockets: a unix socket's path is short.
        self._runtime = tempfile.TemporaryDirectory(prefix="moorage-bench-")
        command: list[str | Path] = (
            [_BIN / "moorage", "up", "-c", config]
            if name == MOORAGE
            else [required("docker-registry"), "serve", config]
        )
        self._process = Process(
            command,
            log=folder / f"{name}.log",
            env={
                **clean_environment(),
                "XDG_RUNTIME_DIR": self._runtime.name,
                "MOORAGE_DATA_DIR": str(folder / "data"),
            },
        )
        try:
            wait_until(self._ready, timeout=60, what=f"{name} answers")
        except BaseException:
            self.stop()
            raise

    def _ready(self) -> bool:
        """Whether a request that needs every part of the registry is answered."""
        assert self._process.running(), f"{self.name} ended:\n{self._process.tail()}"
        try:
            answer = httpx.get(f"{self.url}/v2/no-such/repository/manifests/latest", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == 404

    @property
    def host_and_port(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def meter(self) -> Meter:
        return Meter(self._process.pid, part_of_moorage if self.name == MOORAGE else _part_of_the_peer)

    def stop(self) -> None:
        if self._process.running():
            self._process.stop(timeout=60)
        self._runtime.cleanup()


@contextmanager
def both(
    folder: Path, *, quiet: bool, root: Path | None = None, further: str = ""
) -> Iterator[tuple[Registry, ...]]:
    """Both registries, each over a tree of its own, or both over `root`."""
    with ExitStack() as stack:
        registries = []
        for name in NAMES:
            place = root or folder / f"{name}-storage"
            registry = Registry(name, place, folder, quiet=quiet, further=further)
            stack.callback(registry.stop)
            registries.append(registry)
        yield tuple(registries)
