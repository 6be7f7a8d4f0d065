"""Real Redis servers on free ports: one, with sentinels, or a cluster; paused, slowed, made read-only."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from support.processes import Process, free_port, required, wait_until

HOST = "127.0.0.1"
_SLOTS = 16384


class RedisServer:
    """One redis-server, which keeps nothing on disk unless it is told to (`save`)."""

    def __init__(self, folder: Path, *options: str, password: str = "") -> None:
        """`options` are more of redis-server's."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.address = f"{HOST}:{self.port}"
        self._options = options
        self.client = redis.Redis(host=HOST, port=self.port, password=password or None, decode_responses=True)
        self.start()

    def start(self) -> None:
        """Start it, or start it again; with what it has saved, if anything."""
        command = [required("redis-server"), "--port", str(self.port), "--bind", HOST]
        command += ["--dir", str(self.folder), "--save", "", "--enable-debug-command", "yes", *self._options]
        self.process = Process(command, log=self.folder / "redis.log")
        wait_until(self._answers, timeout=20, what=f"redis-server answers at {self.address}")

    def _answers(self) -> bool:
        assert self.process.running(), f"redis-server ended:\n{self.process.tail()}"
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def command(self, *words: str | int) -> object:
        """The answer to a command."""
        return self.client.execute_command(*words)

    def all_keys(self) -> set[str]:
        return set(self.client.keys("*"))

    def connections(self, name: str = "") -> list[dict[str, str]]:
        """The connections of others, with this name if there is one."""
        own = str(self.client.client_id())
        listed = [each for each in self.client.client_list() if each["id"] != own]
        return [each for each in listed if not name or each["name"] == name]

    def pause(self) -> None:
        """It takes connections and answers nothing, until `resume`."""
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.signal(signal.SIGCONT)

    def sleep(self, seconds: float) -> None:
        """It does nothing for so long. Does not wait for it."""
        with socket.create_connection((HOST, self.port)) as connection:
            connection.sendall(f"DEBUG SLEEP {seconds}\r\n".encode())

    def make_read_only(self) -> None:
        """It becomes a replica of a master that is not there: reads are answered, changes refused."""
        self.command("REPLICAOF", HOST, 1)

    def make_writable(self) -> None:
        self.command("REPLICAOF", "NO", "ONE")

    def save(self) -> None:
        """Write what it holds to disk: it has that again when it is started after `kill`."""
        self.client.save()

    def kill(self) -> None:
        self.client.close()
        self.process.kill()


@contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[RedisServer]:
    server = RedisServer(folder, *options)
    try:
        yield server
    finally:
        server.kill()


class Sentinels:
    """A master, its replica, and sentinels that watch them."""

    name = "main"

    def __init__(self, master: RedisServer, replica: RedisServer, sentinels: Sequence[RedisServer]) -> None:
        self.servers = {server.port: server for server in (master, replica)}
        self.sentinels = list(sentinels)
        self.addresses = [sentinel.address for sentinel in sentinels]

    @property
    def master(self) -> RedisServer:
        """The server that the sentinels call the master."""
        _, port = self.sentinels[-1].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        return self.servers[int(port)]

    def switch(self) -> RedisServer:
        """Let the replica take over from the master, which stays; gives the new master."""
        old = self.master
        wait_until(self._accepted, timeout=30, what="the sentinels begin to switch")
        wait_until(
            lambda: self.master is not old and old.client.role()[0] == "slave",
            timeout=30,
            what="the old master is the replica",
        )
        return self.master

    def _accepted(self) -> bool:
        try:
            self.sentinels[-1].command("SENTINEL", "FAILOVER", self.name)
        except redis.ResponseError:  # it does not know yet that the replica is well
            return False
        return True

    def fail_over(self) -> RedisServer:
        """Kill the master; gives the new one."""
        old = self.master
        old.kill()
        wait_until(lambda: self.master is not old, timeout=30, what="the sentinels have a new master")
        new = self.master
        wait_until(lambda: new.client.role()[0] == "master", timeout=30, what="the new master takes over")
        return new


@contextmanager
def running_sentinels(folder: Path, *, count: int = 2, password: str = "") -> Iterator[Sentinels]:
    """`password` is what clients tell the sentinels."""
    with ExitStack() as stack:
        master = stack.enter_context(running_redis(folder / "master"))
        replica = stack.enter_context(running_redis(folder / "replica"))
        replica.command("REPLICAOF", HOST, master.port)
        wait_until(
            lambda: replica.client.info("replication")["master_link_status"] == "up",
            timeout=20,
            what="the replica follows",
        )
        sentinels = []
        for number in range(count):
            sentinel = running_sentinel(folder / f"sentinel{number}", master.port, password=password)
            sentinels.append(stack.enter_context(sentinel))
        group = Sentinels(master, replica, sentinels)
        for sentinel in sentinels:
            wait_until(
                lambda sentinel=sentinel: sentinel.command("SENTINEL", "REPLICAS", Sentinels.name),
                timeout=30,
                what="the sentinel knows the replica",
            )
        yield group


@contextmanager
def running_sentinel(folder: Path, master: int, *options: str, password: str = "") -> Iterator[RedisServer]:
    """A sentinel of the master at this port."""
    folder.mkdir(parents=True)
    (folder / "sentinel.conf").write_text(
        f"sentinel monitor {Sentinels.name} {HOST} {master} 1\n"
        f"sentinel down-after-milliseconds {Sentinels.name} 500\n"
        f"sentinel failover-timeout {Sentinels.name} 3000\n"
        + (f"requirepass {password}\n" if password else "")
    )
    server = _SentinelServer(folder, *options, password=password)
    try:
        yield server
    finally:
        server.kill()


class _SentinelServer(RedisServer):
    def start(self) -> None:
        command = [required("redis-server"), self.folder / "sentinel.conf", "--sentinel"]
        command += ["--port", str(self.port), "--bind", HOST, "--dir", self.folder, *self._options]
        self.process = Process(command, log=self.folder / "redis.log")
        wait_until(self._answers, timeout=20, what=f"the sentinel answers at {self.address}")


class Cluster:
    """The nodes of a cluster, each with a part of the slots and no replica."""

    def __init__(self, nodes: Sequence[RedisServer]) -> None:
        self.nodes = list(nodes)
        self.addresses = [node.address for node in nodes]

    def wait_ready(self) -> None:
        """Until each node says that the cluster is whole."""
        for node in self.nodes:
            wait_until(
                lambda node=node: node.client.cluster("INFO")["cluster_state"] == "ok",
                timeout=30,
                what="the cluster is ready",
            )

    def all_keys(self) -> set[str]:
        return {key for node in self.nodes for key in node.all_keys()}

    def flush(self) -> None:
        for node in self.nodes:
            node.command("FLUSHALL")


@contextmanager
def running_cluster(folder: Path, count: int = 3) -> Iterator[Cluster]:
    with ExitStack() as stack:
        nodes, bus_ports = [], []
        for number in range(count):
            bus_ports.append(free_port())
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus_ports[-1]))
            nodes.append(stack.enter_context(running_redis(folder / f"node{number}", *options)))
        for number, node in enumerate(nodes):
            first, beyond = number * _SLOTS // count, (number + 1) * _SLOTS // count
            node.command("CLUSTER", "ADDSLOTSRANGE", first, beyond - 1)
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.command("CLUSTER", "MEET", HOST, nodes[0].port, bus_ports[0])
        cluster = Cluster(nodes)
        cluster.wait_ready()
        yield cluster
