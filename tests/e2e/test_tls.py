"""TLS end to end: real clients, a private authority, mutual TLS between services, renewal under load."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.accounts import write_accounts
from support.client import V2Client
from support.engine import DockerEngine, knowing, load_image, skopeo
from support.images import make_image, write_oci_layout
from support.processes import free_port, run, wait_until
from support.registry import MOORAGE, Stack, Up, clean_environment, running_stack, running_up
from support.tls import Certificates

# A name of an address that docker does not take for this machine's: so it looks at the certificate.
NAME = "registry.test"
PASSWORD = "the password of ada"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A private authority: the listener's certificate, and a client's."""
    made = Certificates(tmp_path_factory.mktemp("authority"))
    made.issue("listener", NAME, "::1", "127.0.0.1")
    made.issue("client", "client.example")
    return made


@pytest.fixture(scope="module")
def named_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """A Docker Engine that knows the registry's name."""
    engine = DockerEngine(tmp_path_factory.mktemp("docker"), hosts={NAME: "::1"})
    yield engine
    engine.stop()


class Secured:
    """A registry that serves TLS at the name."""

    def __init__(self, up: Up, port: int) -> None:
        self.up = up
        self.authority = f"{NAME}:{port}"
        self.port = port
        self.url = f"https://[::1]:{port}"


@contextlib.contextmanager
def secured(folder: Path, certificates: Certificates, **settings: str) -> Iterator[Secured]:
    port = free_port()
    pair = certificates.http()
    env = {
        "REGISTRY_HTTP_ADDR": f"'[::1]:{port}'",
        "REGISTRY_HTTP_TLS_CERTIFICATE": pair["certificate"],
        "REGISTRY_HTTP_TLS_KEY": pair["key"],
        "REGISTRY_HTTP_WORKERS": "2",
        **settings,
    }
    with running_up(folder, env) as up:
        # It is ready with its first worker. One that is still starting reads the certificate yet, and if that
        # fails, the gateway ends.
        log = up.process.log
        wait_until(lambda: "the workers are ready" in log.read_text(), timeout=60, what="all workers serve")
        yield Secured(up, port)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Secured]:
    """A registry that serves who has a certificate of the authority and an account."""
    folder = tmp_path_factory.mktemp("mutual")
    file = write_accounts(folder / "htpasswd", {"ada": PASSWORD})
    settings = {
        "REGISTRY_HTTP_TLS_CLIENTCAS": str(certificates.ca),
        "REGISTRY_AUTH_HTPASSWD_REALM": "moorage",
        "REGISTRY_AUTH_HTPASSWD_PATH": str(file),
    }
    with secured(folder / "up", certificates, **settings) as registry:
        yield registry


@contextlib.contextmanager
def trusting(
    engine: DockerEngine, registry: Secured, certificates: Certificates, *, client: str = ""
) -> Iterator[None]:
    """The engine with the authority in its certs.d for the registry, and with a client's certificate."""
    folder = engine.etc / "certs.d" / registry.authority
    folder.mkdir(parents=True)
    files = {"ca.crt": certificates.ca}
    if client:
        files |= {
            "client.cert": certificates.folder / f"{client}.crt",
            "client.key": certificates.folder / f"{client}.key",
        }
    for name, source in files.items():
        (folder / name).write_bytes(source.read_bytes())
    try:
        yield
    finally:
        for name in files:
            (folder / name).unlink()
        folder.rmdir()


@contextlib.contextmanager
def loaded(engine: DockerEngine, name: str, seed: int, folder: Path) -> Iterator[None]:
    """The engine with an image of that name."""
    load_image(engine, make_image(seed), folder, name)
    try:
        yield
    finally:
        engine("rmi", "-f", name)


def digest_in(said: str) -> str:
    found = re.search(r"sha256:[0-9a-f]{64}", said)
    assert found, said
    return found[0]


def test_docker_logs_in_pushes_and_pulls_with_its_certificate(
    registry: Secured,
    named_engine: DockerEngine,
    certificates: Certificates,
    repository: str,
    tmp_path: Path,
) -> None:
    engine, ada = named_engine, ("--config", tmp_path / "ada")
    name = f"{registry.authority}/{repository}:one"

    def log_in(password: str) -> None:
        engine(*ada, "login", "-u", "ada", "-p", password, registry.authority)

    with loaded(engine, name, 90, tmp_path):
        with pytest.raises(AssertionError, match="certificate signed by unknown authority"):
            log_in(PASSWORD)
        with (
            trusting(engine, registry, certificates),
            pytest.raises(AssertionError, match="certificate required"),
        ):
            log_in(PASSWORD)
        with trusting(engine, registry, certificates, client="client"):
            with pytest.raises(AssertionError, match=r"unauthorized|401"):
                log_in("another")
            with pytest.raises(AssertionError, match=r"no basic auth credentials|unauthorized"):
                engine("--config", tmp_path / "nobody", "push", name)
            log_in(PASSWORD)
            pushed = digest_in(engine(*ada, "push", name))
            engine("rmi", "-f", name)
            assert digest_in(engine(*ada, "pull", name)) == pushed


def test_skopeo_shows_its_certificate(
    registry: Secured, certificates: Certificates, repository: str, tmp_path: Path
) -> None:
    layout = write_oci_layout(tmp_path / "source", {"one": make_image(92)})
    remote = f"docker://{registry.authority}/{repository}:one"
    before = knowing({NAME: "::1"}, tmp_path / "hosts")
    known, shown = tmp_path / "known", tmp_path / "shown"
    for folder in (known, shown):
        folder.mkdir()
        (folder / "ca.crt").write_bytes(certificates.ca.read_bytes())
    for kind in ("cert", "key"):
        content = (certificates.folder / f"client.{kind.replace('cert', 'crt')}").read_bytes()
        (shown / f"client.{kind}").write_bytes(content)

    def copy(source: str, destination: str, *options: str | Path) -> None:
        skopeo("copy", "--quiet", *options, source, destination, before=before)

    with pytest.raises(AssertionError, match="unknown authority"):
        copy(f"oci:{layout}:one", remote)
    with pytest.raises(AssertionError, match="certificate required"):
        copy(f"oci:{layout}:one", remote, "--dest-cert-dir", known)
    account = f"ada:{PASSWORD}"
    copy(f"oci:{layout}:one", remote, "--dest-cert-dir", shown, "--dest-creds", account)
    copy(remote, f"oci:{tmp_path}/back:one", "--src-cert-dir", shown, "--src-creds", account)
    layers = {layer.content for layer in make_image(92).layers}
    assert layers <= {path.read_bytes() for path in (tmp_path / "back/blobs/sha256").iterdir()}


# Renewal while clients push


class Pushers:
    """Threads that push and pull images one after the other, each push over connections of its own."""

    def __init__(self, new_client: Callable[[], V2Client], count: int = 2) -> None:
        self._new_client = new_client
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(number,)) for number in range(count)]
        self.pushed = 0
        self.failures: list[str] = []

    def _push(self, number: int) -> None:
        seed = 1000 * (number + 1)
        while not self._stop.is_set() and not self.failures:
            seed += 1
            image = make_image(seed, (2000, 300_000))
            try:
                with self._new_client() as client:
                    client.push_image(f"renewed/{number}", f"v{seed}", image)
                    client.assert_holds(f"renewed/{number}", f"v{seed}", image)
            except (AssertionError, httpx.HTTPError) as error:
                self.failures.append(repr(error))
            self.pushed += 1

    def __enter__(self) -> Pushers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
        assert not self.failures

    def push_more(self, count: int = 4) -> None:
        """Wait until so many more images were pushed."""
        enough = self.pushed + count
        wait_until(lambda: self.failures or self.pushed >= enough, timeout=60, what="pushes go on")
        assert not self.failures


def shown_at(host: str, port: int, own: Certificates, name: str, *, service: str = "") -> bytes:
    """The certificate that a listener shows; `service` is who asks."""
    context = own.client(service or None)
    context.check_hostname = False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(10)
        connection.connect((host, port))
        with context.wrap_socket(connection, server_hostname=name) as secured_connection:
            return secured_connection.getpeercert(binary_form=True) or b""


def test_what_certs_makes_serves_clients_and_is_renewed_while_they_push(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    run(MOORAGE, "certs", folder, "--host", "::1")
    own = Certificates(folder)
    with secured(tmp_path / "up", own) as registry:

        def shown() -> bytes:
            return shown_at("::1", registry.port, own, "::1")

        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{registry.url}/v2/")
        with Pushers(lambda: V2Client(registry.url, verify=own.client())) as pushers:
            pushers.push_more()
            before = shown()
            # As its help says: remove one to have it issued anew.
            for suffix in ("crt", "key"):
                (folder / f"listener.{suffix}").unlink()
            run(MOORAGE, "certs", folder, "--host", "::1")
            # Each of the workers looks by itself.
            wait_until(
                lambda: before not in {shown() for _ in range(8)},
                timeout=30,
                what="every worker shows the new certificate",
            )
            pushers.push_more()


@pytest.fixture(scope="module")
def between_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Four services as on four hosts: TCP between them, mutual TLS, and the data port."""
    folder = tmp_path_factory.mktemp("between")
    own = Certificates(folder / "tls")
    own.of_services("gateway", "blob", "metadata", "notifier")
    env = {"REGISTRY_SERVICES_BLOB_DEBUGADDR": f"127.0.0.1:{free_port()}"}
    with running_stack(folder / "stack", tcp=True, certificates=own, env=env) as stack:
        yield stack


def loans(stack: Stack, work: str) -> float:
    """How many loans the blob service has finished."""
    metrics = httpx.get(f"http://{stack.env['REGISTRY_SERVICES_BLOB_DEBUGADDR']}/metrics", timeout=10).text
    line = f'moorage_channel_loans_total{{outcome="finished",work="{work}"}} '
    found = [each for each in metrics.splitlines() if each.startswith(line)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_bytes_take_the_data_port_over_mutual_tls(between_hosts: Stack) -> None:
    sent, received = loans(between_hosts, "send"), loans(between_hosts, "receive")
    image = make_image(93, (2000, 3_000_000))
    with V2Client(between_hosts.url) as client:
        client.push_image("team/app", "one", image)
        client.assert_holds("team/app", "one", image)
    assert loans(between_hosts, "receive") > received
    assert loans(between_hosts, "send") > sent


def test_the_services_certificates_are_renewed_while_clients_push(between_hosts: Stack) -> None:
    own = between_hosts.certificates
    assert own is not None

    def shown(service: str) -> bytes:
        host, _, port = between_hosts.target(service).rpartition(":")
        return shown_at(host, int(port), own, f"{service}.moorage", service="gateway")

    with Pushers(lambda: V2Client(between_hosts.url)) as pushers:
        pushers.push_more()
        before = {service: shown(service) for service in ("blob", "metadata", "notifier")}
        for service in (*before, "gateway"):
            own.renew(service, f"{service}.moorage")
        for service, certificate in before.items():
            wait_until(
                lambda service=service, certificate=certificate: shown(service) != certificate,
                timeout=30,
                what=f"the {service} service shows its new certificate",
            )
        pushers.push_more()
    log = between_hosts.processes["gateway"].log
    wait_until(lambda: "a changed certificate is in use" in log.read_text(), timeout=30, what="the gateway's")


def test_whoever_is_not_a_service_gets_nowhere(between_hosts: Stack) -> None:
    own = between_hosts.certificates
    assert own is not None
    for service in ("blob", "metadata", "notifier"):
        host, _, port = between_hosts.target(service).rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            # What a gRPC client without TLS says first.
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            with contextlib.suppress(ConnectionError):
                assert b"\x00\x00\x00\x04" not in connection.recv(1000), f"{service} speaks in the clear"


def test_a_service_does_not_listen_beyond_its_host_without_tls(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    services = {"blob": {"addr": "0.0.0.0:5001"}}
    config.write_text(json.dumps({"version": 0.1, "storage": "inmemory", "services": services}))
    result = subprocess.run(
        [MOORAGE, "serve", "blob", "-c", config],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("moorage: services.blob.addr[0]: 0.0.0.0:5001 is not on this host")
    assert "services.tls" in result.stderr
