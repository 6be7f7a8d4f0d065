"""A registry under test: Moorage by `moorage up` or service by service, and Debian's docker-registry."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.processes import Process, accepts_connections, free_port, required, wait_until
from support.tls import Certificates
from support.ways import chosen_way, environment

SERVICES = ("blob", "metadata", "notifier", "gateway")
MOORAGE = Path(sys.executable).with_name("moorage")


def clean_environment() -> dict[str, str]:
    """The environment without what the caller's shell says to a registry."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "MOORAGE_"))}


# What makes a gateway of several processes, as on most machines.
SEVERAL_WORKERS = {"REGISTRY_HTTP_WORKERS": "2"}


class Up:
    """`moorage up` on free ports with its data under `folder`."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        storage: Mapping[str, Any] | None = None,
    ) -> None:
        """`storage` is that section of the configuration, empty for what the configuration itself says.

        Without it, the registry is in a folder below `folder`.
        """
        self.folder = folder
        self.root = folder / "registry"
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        place = (
            {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(self.root)}
            if storage is None
            else {"REGISTRY_STORAGE": json.dumps(storage)}
            if storage
            else {}
        )
        # Its sockets: short paths, and gone with the test even when it is killed.
        self._runtime = tempfile.TemporaryDirectory(prefix="moorage-test-")
        self.env = {
            **clean_environment(),
            "XDG_RUNTIME_DIR": self._runtime.name,
            "MOORAGE_DATA_DIR": str(folder / "data"),
            **place,
            "REGISTRY_HTTP_ADDR": self.address,
            # Starts sooner.
            "REGISTRY_HTTP_WORKERS": "1",
            **environment(chosen_way()),
            **(env or {}),
        }
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.process = self._start()
        except BaseException:
            self._runtime.cleanup()
            raise

    def _start(self) -> Process:
        log = self.folder / "moorage.log"
        # One that ran here before was ready, too.
        before = log.stat().st_size if log.exists() else 0
        process = Process([MOORAGE, "up"], log=log, env=self.env)
        try:
            self._wait_ready(process, before)
        except BaseException:
            if process.running():
                process.stop()
            raise
        return process

    def _wait_ready(self, process: Process, before: int) -> None:
        wait_until(
            lambda: not process.running() or b"Moorage is ready at " in process.log.read_bytes()[before:],
            # One that ends is seen at once; on a busy machine four services take their time.
            timeout=180,
            what="moorage up is ready",
        )
        assert process.running(), f"moorage up ended:\n{process.tail()}"

    def service(self, name: str) -> psutil.Process:
        """The process of one service; the parent, when it is several."""
        processes = self._processes(name)
        return next(each for each in processes if each.parent() not in processes)

    def workers(self, name: str) -> list[psutil.Process]:
        """The processes that do a service's work: the parent's children, or the only one."""
        parent = self.service(name)
        return [each for each in self._processes(name) if each.parent() == parent] or [parent]

    def _processes(self, name: str) -> list[psutil.Process]:
        found = []
        for process in self.process.tree():
            try:
                command = process.cmdline()
            except psutil.NoSuchProcess:  # it has ended meanwhile
                continue
            if "serve" in command and name in command:
                found.append(process)
        assert found, f"no process serves {name}:\n{self.process.tail()}"
        return found

    def stop(self) -> None:
        """Stop it, if it still runs; fails when it does not end well."""
        if self.process.running():
            assert self.process.stop() == 0, self.process.tail()
        self._runtime.cleanup()


class Stack:
    """The four services, each started, killed and restarted alone; one storage tree; no supervisor."""

    def __init__(
        self,
        folder: Path,
        *,
        tcp: bool = chosen_way() == "spliced",
        env: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
        nats_port: int | None = None,
    ) -> None:
        """`tcp`: the services talk over TCP, as between hosts, and not over unix sockets.

        With `certificates`, each has its own of them, and they talk over mutual TLS.
        """
        self.certificates = certificates
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.root = folder / "registry"
        self._tcp = tcp
        self.secret = secrets.token_hex(16)
        self.nats_port = nats_port or free_port()
        self.nats_url = f"nats://127.0.0.1:{self.nats_port}"
        self.env = {**clean_environment(), **environment(chosen_way()), **(env or {})}
        self.processes: dict[str, Process] = {}
        self._configure()
        self.start("nats")
        for name in SERVICES:
            self.start(name)
        self.wait_ready()

    def _configure(self) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        # A unix socket's path is short; a test's folder need not be.
        self._sockets = tempfile.TemporaryDirectory(prefix="moorage-test-")
        self._addresses = {name: self._service_address(name) for name in ("blob", "metadata", "notifier")}
        # One instance, whatever the machine: tests name its address and its process.
        further = {"blob": ", workers: 1" + (f", dataport: {free_port()}" if self._tcp else "")}
        self.config = self.folder / "config.yml"
        self.config.write_text(
            "version: 0.1\nlog: {level: debug}\n"
            f"storage:\n  filesystem: {{rootdirectory: {self.root}}}\n  delete: {{enabled: true}}\n"
            "  cache: {blobdescriptor: inmemory}\n"
            f"http: {{addr: '{self.address}', secret: {self.secret}}}\n"
            "services:\n"
            + "".join(
                f"  {name}: {{addr: '{address}'{further.get(name, '')}}}\n"
                for name, address in self._addresses.items()
            )
            + f"  nats: {{url: '{self.nats_url}'}}\n"
            + (f"  tls: {json.dumps(self.certificates.services())}\n" if self.certificates else "")
        )

    def _service_address(self, name: str) -> str:
        return f"127.0.0.1:{free_port()}" if self._tcp else f"unix://{self._sockets.name}/{name}.sock"

    def target(self, name: str) -> str:
        """The address of a service, as gRPC names it."""
        return self._addresses[name]

    def start(self, name: str) -> None:
        """Start one service, or start it again."""
        command: list[str | Path] = [MOORAGE, "serve", name, "-c", self.config]
        if name == "nats":
            program = Path(sys.executable).with_name("nats-server")
            command = [program, "-js", "-sd", self.folder / "nats", "-a", "127.0.0.1"]
            command += ["-p", str(self.nats_port)]
        self.processes[name] = Process(command, log=self.folder / f"{name}.log", env=self.env)

    def wait_ready(self, timeout: float = 60, *, without: str = "") -> None:
        """Wait until requests that need blob and metadata service are answered; all but one must run."""

        def ready() -> bool:
            for name, process in self.processes.items():
                assert process.running() or name == without, f"{name} ended:\n{process.tail()}"
            try:
                with httpx.Client(base_url=f"{self.url}/v2/no-such/repository", timeout=5) as client:
                    if client.get("/manifests/latest").status_code != 404:
                        return False
                    # The gateway's own way to the blob service: an upload that is given up at once.
                    upload = client.post("/blobs/uploads/")
                    return upload.status_code == 202 and client.delete(upload.headers["location"]).is_success
            except httpx.HTTPError:
                return False

        wait_until(ready, timeout=timeout, what="the services answer")

    def kill(self, name: str) -> None:
        """kill -9 one service."""
        self.processes[name].kill()

    @contextmanager
    def another(self) -> Iterator[Stack]:
        """A second gateway, metadata and blob service on the same storage, with the same secret."""
        other = copy(self)
        other.folder = self.folder / "another"
        other.folder.mkdir()
        other.processes = {}
        other._configure()
        try:
            for name in ("blob", "metadata", "gateway"):
                other.start(name)
            other.wait_ready()
            yield other
        finally:
            other.stop()

    @contextmanager
    def another_gateway(self, *, metadata: str = "", env: Mapping[str, str] | None = None) -> Iterator[Stack]:
        """A second gateway, of one process, on the same services; `metadata` is where it reaches that one."""
        other = copy(self)
        other.folder = self.folder / "another-gateway"
        other.folder.mkdir()
        other.processes = {}
        other.env = {**self.env, "REGISTRY_HTTP_WORKERS": "1", **(env or {})}
        other.port = free_port()
        other.address = f"127.0.0.1:{other.port}"
        other.url = f"http://{other.address}"
        other._sockets = tempfile.TemporaryDirectory(prefix="moorage-test-")
        other.config = other.folder / "config.yml"
        metadata = metadata or self.target("metadata")
        other.config.write_text(
            self.config.read_text()
            .replace(self.address, other.address)
            .replace(self.target("metadata"), metadata)
        )
        try:
            other.start("gateway")
            other.wait_ready()
            yield other
        finally:
            other.stop()

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            process = self.processes[name]
            if process.running():
                process.stop()
        self._sockets.cleanup()


class DockerRegistry:
    """Debian's docker-registry 2.8.2 over a storage tree."""

    def __init__(self, root: Path, folder: Path, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        config = folder / "docker-registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage:\n  filesystem: {{rootdirectory: {root}}}\n  delete: {{enabled: true}}\n"
            f"http: {{addr: '{self.address}'}}\n"
        )
        self.process = Process(
            [required("docker-registry"), "serve", config],
            log=folder / "docker-registry.log",
            env={**clean_environment(), **(env or {})},
        )
        wait_until(lambda: accepts_connections(self.port), timeout=30, what="docker-registry listens")

    def stop(self) -> None:
        self.process.kill()


@contextmanager
def running_docker_registry(
    root: Path, folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[DockerRegistry]:
    registry = DockerRegistry(root, folder, env)
    try:
        yield registry
    finally:
        registry.stop()


@contextmanager
def running_up(
    folder: Path, env: Mapping[str, str] | None = None, *, storage: Mapping[str, Any] | None = None
) -> Iterator[Up]:
    up = Up(folder, env, storage=storage)
    try:
        yield up
    finally:
        up.stop()


@contextmanager
def running_stack(
    folder: Path,
    *,
    tcp: bool = chosen_way() == "spliced",
    env: Mapping[str, str] | None = None,
    certificates: Certificates | None = None,
) -> Iterator[Stack]:
    stack = Stack(folder, tcp=tcp, env=env, certificates=certificates)
    try:
        yield stack
    finally:
        stack.stop()
