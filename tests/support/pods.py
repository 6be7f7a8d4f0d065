"""Rendered manifests as processes: each pod with a network, a root, volumes and a user of its own.

No cluster runs in a test, so this does by namespaces what a node does. A pod is a network namespace on a
bridge. Its container is a process tree with a read-only root, the volumes where the manifest mounts them, and
the user, group and capabilities of its security context. Network policies are packet filters, and dnsmasq is
the cluster's DNS. The programs are those of the working tree; everything else about them comes from the
manifest. What this does not understand it refuses.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import secrets as tokens
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.manifests import (
    ROOT,
    Manifests,
    Object,
    container_of,
    environment,
    labels_of,
    name_of,
    port_number,
    selects,
)
from support.processes import (
    Process,
    is_gone,
    required,
    run,
    wait_for_network_of_its_own,
    wait_until,
)

DOMAIN = "moorage.svc.cluster.local"
Secrets = Mapping[str, Mapping[str, bytes]]

# The last bytes of the addresses in a cluster's network that are no pod's.
_DNS, _PROMETHEUS, _CLIENT, _NODE = 1, 252, 253, 254

_PATH = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a container has of the host's /etc.
_ETC = "passwd group nsswitch.conf host.conf ld.so.cache ld.so.conf ld.so.conf.d ssl services protocols"


class Cluster:
    """The pods of a rendering. Addresses in its network: a client's, Prometheus' and the node's own."""

    def __init__(self, folder: Path, secrets: Secrets) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.secrets = secrets
        self.pods: list[Pod] = []
        self._network = f"10.{random.randrange(128, 255)}.{random.randrange(0, 255)}"
        self._next = 10
        self._name = "moor" + tokens.token_hex(3)
        self._switch = _pause(folder / "switch.log")
        self._dns: Process | None = None
        try:
            self._connect()
        except BaseException:
            self.stop()
            raise

    def _connect(self) -> None:
        ip, pid = required("ip"), str(self._switch.pid)
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net", ip]
        # Left to itself it takes the lowest address of its ports, as they come and go, and pods that know the
        # former one get no answer from DNS for a quarter of a minute.
        run(*inside, "link", "add", "bridge", "address", "02:00:00:00:00:01", "type", "bridge")
        run(*inside, "addr", "add", f"{self.address(_DNS)}/24", "dev", "bridge")
        run(*inside, "link", "set", "bridge", "up")
        run(*inside, "link", "set", "lo", "up")
        run(ip, "link", "add", self._name, "type", "veth", "peer", "name", "node", "netns", pid)
        run(*inside, "link", "set", "node", "master", "bridge", "up")
        run(ip, "addr", "add", f"{self.node}/24", "dev", self._name)
        for other in (_CLIENT, _PROMETHEUS):
            run(ip, "addr", "add", f"{self.address(other)}/32", "dev", self._name)
        run(ip, "link", "set", self._name, "up")
        self._hosts = self.folder / "hosts"
        self._hosts.write_text("")
        self._hosts.chmod(0o644)
        options = [
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            f"--addn-hosts={self._hosts}",
            "--local-ttl=1",
        ]
        options += ["--local=/cluster.local/", "--bind-interfaces", f"--listen-address={self.address(_DNS)}"]
        options += ["--conf-file=/dev/null", "--pid-file=", "--user=root", "--log-facility=-"]
        self._dns = Process([*inside[:2], required("dnsmasq"), *options], log=self.folder / "dns.log")

    def address(self, last: int) -> str:
        return f"{self._network}.{last}"

    @property
    def node(self) -> str:
        """Where the kubelet's probes come from, which no policy stops."""
        return self.address(_NODE)

    @property
    def client(self) -> str:
        """An address in another namespace: a client's, or an ingress controller's."""
        return self.address(_CLIENT)

    @property
    def prometheus(self) -> str:
        """An address in the namespace `monitoring`."""
        return self.address(_PROMETHEUS)

    @property
    def dns(self) -> str:
        """An address in the namespace `kube-system`."""
        return self.address(_DNS)

    def next_address(self) -> str:
        self._next += 1
        assert self._next < _PROMETHEUS, "no address is left"
        return self.address(self._next)

    @property
    def switch_pid(self) -> int:
        return self._switch.pid

    def start(self, manifests: Manifests, replicas: Mapping[str, int] | None = None) -> None:
        """Start all pods at once, as `kubectl apply` does. `replicas` is for what an autoscaler decides."""
        self.manifests = manifests
        for workload in self.manifests.workloads:
            name = name_of(workload)
            number = workload["spec"].get("replicas") or (replicas or {})[name]
            for ordinal in range(number):
                self.pods.append(Pod(self, workload, ordinal))
        self._renew()
        for pod in self.pods:
            pod.start()
        for pod in self.pods:
            pod.wait_created()

    def wait_ready(self, *pods: Pod, timeout: float = 120) -> None:
        """Wait until the pods, or all, are ready, with the endpoints following."""

        def ready() -> bool:
            self.refresh()
            return all(pod.ready for pod in pods or self.pods)

        try:
            wait_until(ready, timeout=timeout, what="all pods are ready")
        except AssertionError as error:
            logs = [f"{pod.name}:\n{pod.tail(15)}" for pod in pods or self.pods if not pod.ready]
            raise AssertionError("\n".join([str(error), *logs])) from None

    def refresh(self) -> None:
        """Probe each pod, and bring endpoints up to date."""
        for pod in self.pods:
            assert pod.running(), f"{pod.name} ended:\n{pod.tail()}"
        with ThreadPoolExecutor(8) as executor:
            list(executor.map(Pod.probe, self.pods))
        self._publish()

    def of(self, name: str) -> list[Pod]:
        """The pods of a workload."""
        return [pod for pod in self.pods if name_of(pod.workload) == name]

    def endpoints(self, service: str) -> list[str]:
        """The addresses that a Service stands for."""
        spec = self.manifests.one("Service", service)["spec"]
        return [
            pod.address
            for pod in self.pods
            if selects({"matchLabels": spec["selector"]}, labels_of(pod.workload))
            and (spec.get("publishNotReadyAddresses") or (pod.ready and not pod.terminating))
        ]

    def replace(self, pod: Pod) -> Pod:
        """Let a new pod take a pod's place, in the order of its workload's strategy; gives the new one."""
        surge = (
            pod.workload["kind"] == "Deployment"
            and pod.workload["spec"]["strategy"].get("type") != "Recreate"
        )
        if not surge:
            self.delete(pod)
        new = self.start_again(pod)
        self.wait_ready(new)
        if surge:
            self.delete(pod)
        return new

    def start_again(self, pod: Pod) -> Pod:
        """Start a pod like another one, with an address of its own and the same claims."""
        new = Pod(self, pod.workload, pod.ordinal)
        self.pods.append(new)
        self._renew()
        new.start()
        new.wait_created()
        return new

    def delete(self, pod: Pod) -> float:
        """Terminate a pod gracefully; gives how many seconds that took. Fails when it did not end well."""
        pod.terminating = True
        self._publish()
        try:
            return pod.terminate()
        finally:
            self.pods.remove(pod)
            self._renew()

    def _renew(self) -> None:
        for pod in self.pods:
            pod.filter()
        self._publish()

    def _publish(self) -> None:
        lines = []
        for service in self.manifests.of_kind("Service"):
            lines += [
                f"{address} {name_of(service)}.{DOMAIN}\n" for address in self.endpoints(name_of(service))
            ]
        for pod in self.pods:
            # A StatefulSet's pods have names of their own.
            if service := pod.workload["spec"].get("serviceName"):
                lines.append(f"{pod.address} {pod.name}.{service}.{DOMAIN}\n")
        text = "".join(lines)
        if text != self._hosts.read_text():
            self._hosts.write_text(text)
            assert self._dns is not None
            self._dns.signal(signal.SIGHUP)

    @contextmanager
    def dns_paused(self) -> Iterator[None]:
        """The cluster's DNS takes questions and answers none."""
        assert self._dns is not None
        self._dns.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._dns.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End everything at once."""
        for pod in self.pods:
            pod.kill()
        if self._dns is not None:
            self._dns.kill()
        self._switch.kill()


@contextmanager
def running_cluster(folder: Path, manifests: Manifests, secrets: Secrets) -> Iterator[Cluster]:
    """A cluster whose pods are all ready."""
    cluster = Cluster(folder, secrets)
    try:
        cluster.start(manifests)
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.stop()


def _pause(log: Path) -> Process:
    """A process that holds a network namespace."""
    process = Process([required("unshare"), "--net", "sleep", "infinity"], log=log)
    wait_for_network_of_its_own(process.pid)
    return process


@dataclass(eq=False)
class Pod:
    """One pod of a workload."""

    cluster: Cluster
    workload: Object
    ordinal: int
    terminating: bool = False
    ready: bool = False
    address: str = ""
    name: str = ""
    _process: Process | None = None
    _started: float = 0.0
    _has_started: bool = False

    def __post_init__(self) -> None:
        stateful = self.workload["kind"] == "StatefulSet"
        suffix = str(self.ordinal) if stateful else tokens.token_hex(4)
        self.name = f"{name_of(self.workload)}-{suffix}"
        self.address = self.cluster.next_address()
        self.container = container_of(self.workload)
        self.spec = self.workload["spec"]["template"]["spec"]
        self._folder = self.cluster.folder / f"{self.name}-{self.address.rsplit('.')[-1]}"
        self._folder.mkdir()
        self._pause = _pause(self._folder / "pause.log")
        ip, pid = required("ip"), str(self._pause.pid)
        inside = self._in_network
        switch = ["nsenter", f"--net=/proc/{self.cluster.switch_pid}/ns/net", ip]
        port = f"p{self.address.rsplit('.')[-1]}"
        run(*switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", pid)
        run(*switch, "link", "set", port, "master", "bridge", "up")
        run(*inside, ip, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run(*inside, ip, "link", "set", "eth0", "up")
        run(*inside, ip, "link", "set", "lo", "up")

    @property
    def _in_network(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._pause.pid}/ns/net"]

    # The container

    @cached_property
    def environment(self) -> dict[str, str]:
        """The container's variables, those of its image included."""
        declared = environment(self.container, self.cluster.manifests, self.cluster.secrets, self.name)
        image = {"PATH": _PATH, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
        return {**image, **declared}

    @property
    def command(self) -> list[str]:
        """What runs: the manifest's command, or the image's entry point, with the manifest's arguments."""
        command = self.container.get("command") or entry_point(self.container["image"])
        return [*command, *self.container.get("args", [])]

    def start(self) -> None:
        script = self._folder / "container.sh"
        script.write_text(self._script())
        namespaces = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL"]
        contained = [*self._in_network, *namespaces, "sh", "-e", script, *self.command]
        self._started = time.monotonic()
        self._process = Process(contained, log=self._folder / "log", env=self.environment)

    def wait_created(self) -> None:
        """Wait until the container has its first process in its root: none is probed or entered before."""
        wait_until(self._is_created, timeout=60, what=f"the container of {self.name} is created")

    def _is_created(self) -> bool:
        assert self.running(), f"{self.name} ended:\n{self.tail()}"
        try:
            return any(not os.path.samefile(f"/proc/{each.pid}/root", "/") for each in self._children())
        except FileNotFoundError:  # It ended meanwhile.
            return False

    def _children(self) -> list[psutil.Process]:
        """Of `unshare`: the container's first process, or none before and after its life."""
        assert self._process is not None
        children: list[psutil.Process] = psutil.Process(self._process.pid).children()
        return children

    def _script(self) -> str:
        """Makes the container's root, goes there, drops what it must not have, and becomes the command."""
        context = self.spec["securityContext"]
        user, group, fs_group = (context[key] for key in ("runAsUser", "runAsGroup", "fsGroup"))
        own = self.container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        lines = [
            "mount --make-rprivate /",
            f"hostname {shlex.quote(self.name)}",
            f"root={shlex.quote(str(self._folder))}/root; mkdir -p $root",
            "mount -t tmpfs -o mode=755 root $root",
            "cd $root; mkdir usr etc dev proc; mkdir -m 1777 tmp",
            "for each in bin sbin lib lib64; do",
            "  if [ -L /$each ]; then cp -P /$each .; elif [ -d /$each ]; then mkdir $each; "
            "mount -o bind,ro /$each $each; fi",
            "done",
            "mount -o bind,ro /usr usr; mount --rbind /dev dev; mount -t proc proc proc",
            f"for each in {_ETC}; do if [ -e /etc/$each ]; then cp -aL /etc/$each etc/; fi; done",
            f"printf 'nameserver {self.cluster.dns}\\nsearch {DOMAIN}\\n' > etc/resolv.conf",
            f"printf '127.0.0.1 localhost\\n{self.address} {self.name}\\n' > etc/hosts",
        ]
        volumes = {each["name"]: each for each in self.spec.get("volumes", [])}
        claims = {name_of(each): each for each in self.workload["spec"].get("volumeClaimTemplates", [])}
        for mount in sorted(self.container["volumeMounts"], key=lambda each: len(each["mountPath"])):
            where = "." + mount["mountPath"]
            lines.append(f"mkdir -p {where}")
            volume = volumes.get(mount["name"])
            if volume is not None and "emptyDir" in volume:
                size = volume["emptyDir"]["sizeLimit"].removesuffix("i").lower()
                lines.append(f"mount -t tmpfs -o size={size},mode=3777,gid={fs_group} volume {where}")
                continue
            source = self._volume(mount["name"], volume, claims.get(mount["name"]), fs_group)
            read_only = ",ro" if mount.get("readOnly") else ""
            lines.append(f"mount -o bind{read_only} {shlex.quote(str(source))} {where}")
        for program in dict.fromkeys((sys.base_prefix, sys.prefix, str(ROOT))):
            if not program.startswith("/usr"):
                lines += [f"mkdir -p .{program}", f"mount -o bind,ro {program} .{program}"]
        if own["readOnlyRootFilesystem"]:
            lines.append("mount -o remount,ro $root")
        # The end of its parent is asked for again: a process that changes its user forgets it.
        drop = "--pdeathsig KILL --no-new-privs --bounding-set=-all --inh-caps=-all"
        user_and_groups = f"--reuid={user} --regid={group} --groups={fs_group}"
        lines.append(f'exec chroot $root setpriv {user_and_groups} {drop} -- "$@"')
        return "\n".join(lines) + "\n"

    def _volume(self, name: str, volume: Object | None, claim: Object | None, group: int) -> Path:
        """The folder of a volume. What is claimed outlives the pod."""
        match volume:
            case {"configMap": {"name": source}}:
                data = self.cluster.manifests.one("ConfigMap", source)["data"]
                return self._files(name, {key: value.encode() for key, value in data.items()}, 0o644, group)
            case {"secret": {"secretName": secret, **rest}}:
                mode = rest.get("defaultMode", 0o644)
                return self._files(name, self.cluster.secrets[secret], mode, group)
            case {"persistentVolumeClaim": {"claimName": claimed}}:
                assert self.cluster.manifests.one("PersistentVolumeClaim", claimed)
                folder = self.cluster.folder / f"claim-{claimed}"
            case None:
                assert claim is not None, f"no volume {name}"
                folder = self.cluster.folder / f"claim-{name}-{self.name}"
            case _:
                raise AssertionError(f"not read here: {volume}")
        if not folder.exists():
            folder.mkdir()
            os.chown(folder, 0, group)
            folder.chmod(0o2775)
        return folder

    def _files(self, name: str, files: Mapping[str, bytes], mode: int, group: int) -> Path:
        folder = self._folder / f"volume-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        for key, content in files.items():
            (folder / key).write_bytes(content)
            os.chown(folder / key, 0, group)
            (folder / key).chmod(mode)
        return folder

    # Its life

    @property
    def first(self) -> psutil.Process:
        """The container's first process."""
        children = self._children()
        assert len(children) == 1, f"{self.name} does not run:\n{self.tail()}"
        return children[0]

    @property
    def processes(self) -> list[psutil.Process]:
        return [self.first, *self.first.children(recursive=True)]

    def running(self) -> bool:
        return self._process is not None and self._process.running()

    def tail(self, lines: int = 40) -> str:
        assert self._process is not None
        return self._process.tail(lines)

    def probe(self) -> None:
        """Ask for readiness as the manifest says. A pod that does not start in time is an error."""
        startup = self.container.get("startupProbe")
        if not self._has_started and startup is not None and not self.passes("startupProbe"):
            limit = startup["failureThreshold"] * startup["periodSeconds"]
            assert time.monotonic() - self._started < limit, f"{self.name} did not start:\n{self.tail()}"
            return
        self._has_started = True
        self.ready = self.passes("readinessProbe")

    def passes(self, kind: str) -> bool:
        """Whether a probe succeeds, once."""
        probe = self.container[kind]
        timeout = probe.get("timeoutSeconds", 1)
        match probe:
            case {"tcpSocket": {"port": port}}:
                return self.accepts(port_number(self.container, port), timeout=timeout)
            case {"httpGet": {"path": path, "port": port}}:
                return self._answers(port_number(self.container, port), path, timeout)
            case {"grpc": {"port": port}}:
                return self._serves(port, probe["grpc"].get("service", ""), timeout)
            case {"exec": {"command": command}}:
                return self.execute(command, timeout=timeout) == 0
            case _:
                raise AssertionError(f"not read here: {probe}")

    def accepts(self, port: int, *, source: str = "", timeout: float = 1) -> bool:
        """Whether a TCP connection comes about, from the node or from another address."""
        try:
            with socket.create_connection((self.address, port), timeout, (source or self.cluster.node, 0)):
                return True
        except OSError:
            return False

    def reaches(self, other: Pod, port: int) -> bool:
        """Whether a TCP connection from this pod to another one comes about."""
        code = f"import socket; socket.create_connection(({other.address!r}, {port}), 1)"
        done = subprocess.run(
            [*self._in_network, sys.executable, "-S", "-c", code],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0 or b"imed out" in done.stderr or b"refused" in done.stderr, done.stderr
        return done.returncode == 0

    def _answers(self, port: int, path: str, timeout: float) -> bool:
        connection = http.client.HTTPConnection(
            self.address, port, timeout=timeout, source_address=(self.cluster.node, 0)
        )
        try:
            connection.request("GET", path)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _serves(self, port: int, service: str, timeout: float) -> bool:
        with grpc.insecure_channel(f"{self.address}:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def execute(self, command: Iterable[str], *, timeout: float = 30) -> int:
        """Run a command in the running container, as its user; gives its status, 124 for none in time."""
        context = self.spec["securityContext"]
        user = [f"--reuid={context['runAsUser']}", f"--regid={context['runAsGroup']}", "--clear-groups"]
        inside = [
            "nsenter",
            f"--target={self.first.pid}",
            "--mount",
            "--net",
            "--uts",
            "--pid",
            "--root",
            "--wd=/",
        ]
        try:
            return subprocess.run(
                [*inside, "setpriv", *user, "--", *command],
                env=self.environment,
                capture_output=True,
                timeout=timeout,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124

    def terminate(self) -> float:
        """What the kubelet does: the hook, SIGTERM, and at the end of the grace period a failure."""
        assert self._process is not None
        began = time.monotonic()
        grace = self.spec["terminationGracePeriodSeconds"]
        hook = self.container.get("lifecycle", {}).get("preStop")
        if hook is not None:
            status = self.execute(hook["exec"]["command"], timeout=grace)
            assert status == 0, f"the hook of {self.name} ended with {status}"
        self.first.send_signal(signal.SIGTERM)
        left = grace - (time.monotonic() - began)
        wait_until(lambda: not self.running(), timeout=left, what=f"{self.name} ends")
        took = time.monotonic() - began
        status = self._process.stop()
        assert status == 0, f"{self.name} ended with {status}:\n{self.tail()}"
        self.kill()
        return took

    def kill(self) -> None:
        if self.running():
            assert self._process is not None
            # The first process of its namespace, with which all others end.
            for first in self._children():
                first.kill()
                wait_until(partial(is_gone, first), timeout=10, what=f"{self.name} is gone")
            self._process.kill()
        self._pause.kill()

    def memory(self) -> int:
        """Resident bytes of its processes, what they share counted once for each."""
        return sum(each.memory_info().rss for each in self.processes)

    # Its network policies

    def filter(self) -> None:
        """Let through what the network policies allow, and nothing else."""
        rules = [*_ALWAYS, f"-A INPUT -s {self.cluster.node} -j ACCEPT"]
        mine = [
            each["spec"]
            for each in self.cluster.manifests.of_kind("NetworkPolicy")
            if selects(each["spec"]["podSelector"], labels_of(self.workload))
        ]
        policies = {"INPUT": "ACCEPT", "OUTPUT": "ACCEPT"}
        for chain, direction in (("INPUT", "Ingress"), ("OUTPUT", "Egress")):
            for spec in mine:
                if direction in spec["policyTypes"]:
                    policies[chain] = "DROP"
                    for rule in spec.get(direction.lower(), []):
                        rules += self._filters(chain, rule)
        heads = [f":{chain} {policy} [0:0]" for chain, policy in policies.items()]
        text = "\n".join(["*filter", *heads, *rules, "COMMIT\n"])
        subprocess.run(
            [*self._in_network, required("iptables-restore")], input=text.encode(), check=True, timeout=30
        )

    def _filters(self, chain: str, rule: Object) -> Iterator[str]:
        option = "-s" if chain == "INPUT" else "-d"
        peers = rule.get("from" if chain == "INPUT" else "to")
        addresses = ["0.0.0.0/0"] if peers is None else [each for peer in peers for each in self._peers(peer)]
        ports = rule.get("ports") or [None]
        for address in addresses:
            for port in ports:
                yield f"-A {chain} {option} {address}{self._port(port)} -j ACCEPT"

    def _port(self, port: Object | None) -> str:
        if port is None:
            return ""
        number = port["port"]
        first = port_number(self.container, number)
        last = f":{port['endPort']}" if "endPort" in port else ""
        return f" -p {port.get('protocol', 'TCP').lower()} --dport {first}{last}"

    def _peers(self, peer: Object) -> list[str]:
        match peer:
            case {"podSelector": selector, **rest} if not rest:
                return [
                    pod.address for pod in self.cluster.pods if selects(selector, labels_of(pod.workload))
                ]
            case {"namespaceSelector": selector, **rest} if not rest:
                known = {"kube-system": self.cluster.dns, "monitoring": self.cluster.prometheus}
                return [
                    address
                    for name, address in known.items()
                    if selects(selector, {"kubernetes.io/metadata.name": name})
                ]
            case _:
                raise AssertionError(f"not read here: {peer}")


_ALWAYS = (
    "-A INPUT -i lo -j ACCEPT",
    "-A OUTPUT -o lo -j ACCEPT",
    "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
)


def entry_point(image: str) -> list[str]:
    """The entry point of one of our images, from its Dockerfile."""
    found = re.fullmatch(r"moorage/([a-z-]+):\S+", image)
    assert found, f"the manifest must give the command of {image}"
    text = (ROOT / "services" / found[1] / "Dockerfile").read_text()
    (said,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    command: list[str] = json.loads(said)
    return command
