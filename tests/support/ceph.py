"""A throw-away Ceph of one node: a monitor, an OSD that keeps its objects in memory and, when asked for, S3.

A cluster of a test's own may lose its OSD; the one that the tests of a run share is in `shared_ceph.py`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from support.processes import Process, accepts_connections, free_port, required, run, wait_until

POOL = "registry"
USER = "registry"

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = {monitor}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {folder}/$name.keyring
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
log to stderr = false
err to stderr = true
public network = {address}/32
public addr = {address}
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2

[mon.a]
mon data = {folder}/mon.a

[osd.0]
osd data = {folder}/osd.0
osd objectstore = {store}
osd fast shutdown = false
memstore device bytes = 17179869184
bluestore block size = 8589934592

[client]
admin socket =
log file =
pid file =

[client.gateway]
rgw frontends = beast endpoint=127.0.0.1:{gateway_port} tcp_nodelay=1
rgw data = {folder}/gateway
rgw thread pool size = 32
rgw dynamic resharding = false
# Encryption with a key management service that is in this file, and without TLS: for tests.
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = registry-key=YS1rZXktb2YtMzItYnl0ZXMtZm9yLXRlc3RzLW9ubHk=
"""


@dataclass(frozen=True)
class S3Access:
    """How a client reaches the RADOS Gateway: path-style buckets, signature version 4."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"


@dataclass(frozen=True)
class CephAccess:
    """How a client reaches the cluster: as client.USER, who may use the pool and nothing else."""

    # It also says where the user's key is.
    conffile: str
    pool: str = POOL
    user: str = USER


class Ceph:
    """One cluster on free loopback ports. Its files are in a short folder of its own, gone after `stop`."""

    def __init__(self, *, durable: bool = False, address: str = "") -> None:
        """Start monitor and OSD; returns when the pool takes objects (about six seconds).

        `durable`: the OSD keeps its objects in a file, and still has them after `kill_osd`. With an `address`
        of its own the cluster listens there, on Ceph's own ports.
        """
        for program in ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "rados"):
            required(program)
        # The path of a daemon's admin socket has to fit 107 bytes, which a test's own folder may not.
        self.folder = Path(tempfile.mkdtemp(prefix="moorage-ceph-"))
        self._conffile = self.folder / "ceph.conf"
        self._store = "bluestore" if durable else "memstore"
        self._address = address or "127.0.0.1"
        v2, v1 = (3300, 6789) if address else (free_port(), free_port())
        self._monitor = f"[v2:{self._address}:{v2},v1:{self._address}:{v1}]"
        self._gateway_port = free_port()
        self._daemons: dict[str, Process] = {}
        self.access = CephAccess(str(self._conffile))
        self.s3: S3Access | None = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Ceph:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        fsid = str(uuid.uuid4())
        self._conffile.write_text(
            _CONFIGURATION.format(
                fsid=fsid,
                folder=self.folder,
                store=self._store,
                address=self._address,
                monitor=self._monitor,
                gateway_port=self._gateway_port,
            )
        )
        for name in ("mon.a", "osd.0", "gateway"):
            (self.folder / name).mkdir()
        self._start_monitor(fsid)
        self._create_osd()
        self.start_osd()
        self.ceph("osd", "pool", "create", POOL, "8")
        self._create_user(f"client.{USER}", mon="allow r", osd=f"allow rwx pool={POOL}")
        wait_until(self.answers, timeout=60, what="the pool takes objects")

    def _start_monitor(self, fsid: str) -> None:
        keys, admin, monmap = (
            self.folder / name for name in ("mon.a.keyring", "client.admin.keyring", "monmap")
        )
        authtool = required("ceph-authtool")
        run(authtool, "-C", "-g", keys, "-n", "mon.", "--cap", "mon", "allow *")
        run(
            authtool, "-C", "-g", admin, "-n", "client.admin",
            "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *",
        )  # fmt: skip
        run(authtool, keys, "--import-keyring", admin)
        run(required("monmaptool"), "--create", "--fsid", fsid, "--addv", "a", self._monitor, monmap)
        monitor = (required("ceph-mon"), "-c", self._conffile, "-i", "a")
        run(*monitor, "--mkfs", "--monmap", monmap, "--keyring", keys)
        self._daemon("mon.a", [*monitor, "-f"])

    def _create_osd(self) -> None:
        identity = str(uuid.uuid4())
        self.ceph("osd", "new", identity)
        self._create_user("osd.0", mon="allow profile osd", osd="allow *", mgr="allow profile osd")
        run(required("ceph-osd"), "-c", self._conffile, "-i", "0", "--mkfs", "--osd-uuid", identity)

    def _create_user(self, name: str, **capabilities: str) -> None:
        pairs = [word for pair in capabilities.items() for word in pair]
        self.ceph("auth", "get-or-create", name, *pairs, "-o", str(self.folder / f"{name}.keyring"))

    def _daemon(self, name: str, command: list[str | Path]) -> None:
        self._daemons[name] = Process(command, log=self.folder / f"{name}.out")

    def client_files(self, folder: str) -> dict[str, bytes]:
        """What a client on another host has in a folder there: `ceph.conf`, and its user's keyring."""
        keyring = f"ceph.client.{USER}.keyring"
        conf = f"[global]\nmon host = {self._monitor}\nkeyring = {folder}/{keyring}\n"
        key = (self.folder / f"client.{USER}.keyring").read_bytes()
        return {"ceph.conf": conf.encode(), keyring: key}

    def ceph(self, *arguments: str) -> str:
        """Run a `ceph` command as the administrator; fails with its output when it fails."""
        return run(required("ceph"), "-c", self._conffile, "--connect-timeout", "20", *arguments)

    def rados(self, *arguments: str | Path, namespace: str = "") -> str:
        """Run a `rados` command on the pool as the administrator."""
        return run(required("rados"), "-c", self._conffile, "-p", POOL, "-N", namespace, *arguments)

    def answers(self) -> bool:
        """Whether the OSD stores an object within a few seconds."""
        for name, daemon in self._daemons.items():
            assert daemon.running(), f"{name} ended:\n{daemon.tail()}"
        command = [required("rados"), "-c", self._conffile, "-p", POOL]
        try:
            for action in ("create", "rm"):
                subprocess.run([*command, action, "probe"], timeout=5, check=True, capture_output=True)
        except subprocess.SubprocessError:
            return False
        return True

    def start_osd(self) -> None:
        """Start the OSD, at first or again."""
        self._daemon("osd.0", [required("ceph-osd"), "-c", self._conffile, "-i", "0", "-f"])

    def kill_osd(self) -> None:
        """kill -9 the OSD. Only one of a durable cluster can be started again."""
        self._daemons.pop("osd.0").kill()

    def stop_osd(self) -> None:
        """End the OSD in good order; it writes its objects to its folder, whence `start_osd` gets them."""
        self._daemons.pop("osd.0").stop()

    def pause_osd(self) -> None:
        """Stop the OSD's clock (SIGSTOP): its connections stay open, and nothing is answered."""
        self._daemons["osd.0"].signal(signal.SIGSTOP)

    def resume_osd(self) -> None:
        """Let a paused OSD go on."""
        self._daemons["osd.0"].signal(signal.SIGCONT)

    def start_gateway(self) -> S3Access:
        """Start the RADOS Gateway, once (about six seconds). It has one user, who may create buckets."""
        if self.s3 is not None:
            return self.s3
        access = S3Access(f"http://127.0.0.1:{self._gateway_port}", "registry", "registry-secret")
        self._create_user("client.gateway", mon="allow rw", osd="allow rwx")
        run(
            required("radosgw-admin"), "-c", self._conffile, "user", "create", "--uid", "registry",
            "--display-name", "registry", "--access-key", access.access_key,
            "--secret-key", access.secret_key,
        )  # fmt: skip
        self.restart_gateway()
        self.s3 = access
        return access

    def restart_gateway(self) -> None:
        """Start the gateway, at first or after `kill_gateway`."""
        self._daemon(
            "client.gateway", [required("radosgw"), "-c", self._conffile, "-n", "client.gateway", "-f"]
        )
        wait_until(
            lambda: not self._daemons["client.gateway"].running() or accepts_connections(self._gateway_port),
            timeout=60,
            what="the RADOS Gateway accepts connections",
        )
        assert self._daemons["client.gateway"].running(), self._daemons["client.gateway"].tail()

    def kill_gateway(self) -> None:
        """kill -9 the gateway; what it has stored is the OSD's."""
        self._daemons.pop("client.gateway").kill()

    def pause_gateway(self) -> None:
        """Stop the gateway's clock (SIGSTOP): connections are accepted, and nothing is answered."""
        self._daemons["client.gateway"].signal(signal.SIGSTOP)

    def resume_gateway(self) -> None:
        """Let a paused gateway go on."""
        self._daemons["client.gateway"].signal(signal.SIGCONT)

    def stop(self) -> None:
        """End every daemon and remove the folder."""
        for daemon in reversed(self._daemons.values()):
            # Nothing of it is to survive, so it need not write down what it has in memory.
            daemon.kill()
        self._daemons.clear()
        shutil.rmtree(self.folder)
