"""TLS on the registry's listener."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from api_gateway.connection import REST
from api_gateway.server import Door, listen_tcp, serving
from api_gateway.tls import ListenerTLS
from moorage.config import ConfigurationError, parse
from support.processes import wait_until
from support.tls import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("tls"))
    made.issue("listener")
    made.issue("client", "client.example")
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Another authority, and a client of it."""
    made = Certificates(tmp_path_factory.mktemp("stranger"))
    made.issue("client", "client.example")
    return made


@pytest.fixture(scope="module")
def start(start_registry, certificates):
    """Starts registries with further keys of `http.tls`."""

    def starts(**tls: Any):
        registry = start_registry(http={"tls": {**certificates.http(), **tls}})
        registry.certificates = certificates
        registry.client.close()
        registry.client = registry.new_client()
        return registry

    return starts


@pytest.fixture(scope="module")
def secured(start):
    return start()


def handshake(registry, context: ssl.SSLContext) -> ssl.SSLSocket:
    connection = socket.create_connection(registry.address[:2], timeout=20)
    secured = context.wrap_socket(connection, server_hostname="127.0.0.1", do_handshake_on_connect=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(secured)
        secured.do_handshake()
        stack.pop_all()
        return secured


def test_an_image_is_pushed_and_pulled(secured, repository: str) -> None:
    digest, content = secured.push_image(repository)
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    assert secured.client.get(f"/v2/{repository}/manifests/{digest}", headers=accept).content == content


def test_blobs_of_every_size_go_through(secured, repository: str) -> None:
    for size in (1, 100, 65536, 5_000_003):
        content = os.urandom(size)
        digest = secured.push_blob(repository, content)
        assert secured.client.get(f"/v2/{repository}/blobs/{digest}").content == content
        part = secured.client.get(f"/v2/{repository}/blobs/{digest}", headers={"Range": "bytes=0-0"})
        assert part.content == content[:1]


def test_an_upload_in_chunks_goes_through(secured, repository: str) -> None:
    pieces = [os.urandom(size) for size in (1, 70_000, 3_000_001)]
    location = secured.start_upload(repository).headers["location"]
    answer = secured.client.patch(
        location, content=iter(pieces), headers={"Content-Type": "application/octet-stream"}
    )
    assert (answer.status_code, answer.headers["range"]) == (202, f"0-{sum(map(len, pieces)) - 1}")


def test_what_a_client_had_sent_when_it_left_is_kept(secured, certificates, repository: str) -> None:
    path = secured.start_upload(repository).headers["location"].removeprefix(secured.url)
    head = f"PATCH {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
    # In TLS 1.3 the server has sent something that the client leaves unread: its end would be a reset.
    with handshake(secured, versions(certificates.client(), ssl.TLSVersion.TLSv1_2)) as connection:
        connection.sendall(head.encode() + bytes(300_000))

    def stored() -> bool:
        answer = secured.client.get(path.partition("?")[0])
        return answer.headers.get("range") == "0-299999"

    wait_until(stored, timeout=20, what="the bytes are there")


class Counting:
    """A load that counts the connections of one process."""

    is_lowest = True

    def __init__(self) -> None:
        self.connections = 0

    def opened(self) -> None:
        self.connections += 1

    def closed(self) -> None:
        self.connections -= 1


@pytest.mark.parametrize("asked", ["before", "after"])
@pytest.mark.parametrize("size", [1000, 200_000, 500_000])
def test_what_came_before_the_clients_end_is_read_after_it(
    certificates, loop_thread, size: int, asked: str
) -> None:
    """`asked` is whether the application has begun to read the body when the client leaves.

    TLS reads the end of a connection ahead unless more than 256 KiB came before it: then both may wait in the
    kernel.
    """
    load = Counting()
    content = os.urandom(size)
    received = bytearray()
    sending, left, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if asked == "before":
            received.extend((await receive()).get("body", b""))
        sending.set()
        await left.wait()
        while (message := await receive())["type"] != "http.disconnect":
            received.extend(message["body"])
        received.extend(scope["extensions"][REST]()[0])
        done.set()

    def send(address: tuple[str, int]) -> None:
        with socket.create_connection(address, timeout=20) as plain:
            context = versions(certificates.client(), ssl.TLSVersion.TLSv1_2)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                connection.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + content)

    async def serves() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        address = listener.getsockname()
        door = Door(tls=ListenerTLS.of(configuration(certificates.http())))
        async with asyncio.timeout(30), serving(application, listener, drain=5, load=load, door=door):
            await asyncio.to_thread(send, address)
            await sending.wait()
            deadline = time.monotonic() + (0.3 if size > 256 * 1024 else 10)
            while load.connections and time.monotonic() < deadline:
                await asyncio.sleep(0.005)
            assert size > 256 * 1024 or not load.connections
            left.set()
            await done.wait()

    loop_thread.run(serves())
    assert len(received) == size
    assert received == content


def test_locations_say_https(secured, repository: str) -> None:
    location = secured.start_upload(repository).headers["location"]
    assert location.startswith(f"https://{secured.host}/v2/")


def test_http_1_1_is_what_is_spoken_whatever_the_client_would_like(secured, certificates) -> None:
    context = certificates.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with handshake(secured, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        assert connection.version() == "TLSv1.3"


def test_plain_http_is_told_that_it_is_wrong_here(secured) -> None:
    with socket.create_connection(secured.address[:2], timeout=20) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"Client sent an HTTP request to an HTTPS server.\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_a_handshake_that_does_not_come_holds_up_nobody_and_is_given_up(
    secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_gateway.acceptor._HANDSHAKE_SECONDS", 0.5)
    failed = REGISTRY.get_sample_value("registry_tls_handshakes_failed_total") or 0
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(secured.address[:2], timeout=20)) for _ in range(100)
        ]
        silent[0].sendall(b"\x16\x03\x01")
        with secured.new_client() as client:
            assert client.get("/v2/").status_code == 200
        started = time.monotonic()
        for connection in silent:
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""
        assert time.monotonic() - started < 10
    assert REGISTRY.get_sample_value("registry_tls_handshakes_failed_total") >= failed + 100


def test_a_connection_too_many_is_closed_without_a_word(start_registry, certificates) -> None:
    registry = start_registry(http={"tls": certificates.http(), "limits": {"connections": 1}})
    registry.client.close()
    with (
        socket.create_connection(registry.address[:2], timeout=20) as one,
        socket.create_connection(registry.address[:2], timeout=20) as another,
    ):
        assert another.recv(65536) == b""
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.recv(1)


def versions(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_older_versions_than_1_2_are_not_spoken(secured, certificates) -> None:
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises(ssl.SSLError):
            handshake(secured, versions(certificates.client(), version))
    with handshake(secured, versions(certificates.client(), ssl.TLSVersion.TLSv1_2)) as connection:
        assert connection.cipher()[0] in {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"}


@pytest.mark.parametrize(
    "tls", [{"minimumtls": "tls1.3"}, {"ciphersuites": ["TLS_AES_128_GCM_SHA256"]}], ids=["version", "suites"]
)
def test_tls_1_3_alone_is_spoken_where_that_is_asked_for(start, certificates, tls) -> None:
    registry = start(**tls)
    with pytest.raises(ssl.SSLError):
        handshake(registry, versions(certificates.client(), ssl.TLSVersion.TLSv1_2))
    with handshake(registry, certificates.client()) as connection:
        assert connection.version() == "TLSv1.3"


def test_the_suites_that_are_chosen_are_the_only_ones_of_tls_1_2(start, certificates) -> None:
    registry = start(ciphersuites=["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"])
    with handshake(registry, versions(certificates.client(), ssl.TLSVersion.TLSv1_2)) as connection:
        assert connection.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
    other = certificates.client()
    other.maximum_version = ssl.TLSVersion.TLSv1_2
    other.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(ssl.SSLError):
        handshake(registry, other)


# Certificates of clients


def status(registry, context: ssl.SSLContext) -> int | None:
    """The status of a request; None when there is none, for want of a certificate that is accepted."""
    try:
        with httpx.Client(base_url=registry.url, verify=context, timeout=20) as client:
            return client.get("/v2/").status_code
    except httpx.TransportError:
        return None


def test_who_must_show_a_certificate(start, certificates, stranger) -> None:
    # It believes the registry, but is of another authority.
    of_stranger = certificates.client()
    of_stranger.load_cert_chain(stranger.folder / "client.crt", stranger.folder / "client.key")
    clients = {"own": certificates.client("client"), "none": certificates.client(), "stranger": of_stranger}
    expected = {
        None: {"own": 200, "none": None, "stranger": None},
        "require-and-verify-client-cert": {"own": 200, "none": None, "stranger": None},
        "verify-client-cert-if-given": {"own": 200, "none": 200, "stranger": None},
        "request-client-cert": {"own": 200, "none": 200, "stranger": 200},
    }
    for mode, outcome in expected.items():
        tls = {"clientcas": [str(certificates.ca)], **({"clientauth": mode} if mode else {})}
        registry = start(**tls)
        assert {name: status(registry, context) for name, context in clients.items()} == outcome, mode


def test_who_is_refused_is_told_why(start, certificates, stranger) -> None:
    registry = start(clientcas=[str(certificates.ca)])
    of_stranger = certificates.client()
    of_stranger.load_cert_chain(stranger.folder / "client.crt", stranger.folder / "client.key")
    expected = {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED": certificates.client(),
        "TLSV1_ALERT_UNKNOWN_CA": of_stranger,
    }
    for reason, context in expected.items():
        # In TLS 1.3 a client's handshake is done before its certificate is looked at.
        with handshake(registry, context) as connection, pytest.raises(ssl.SSLError) as caught:
            connection.recv(1)
        assert caught.value.reason == reason


def test_without_authorities_nobody_is_asked_for_a_certificate(secured, certificates) -> None:
    assert status(secured, certificates.client("client")) == 200


# Files


def configuration(tls: dict[str, Any]):
    return parse(f"version: 0.1\nstorage: inmemory\nhttp: {{tls: {tls}}}\n", {}).http.tls


def test_a_file_that_cannot_be_used_is_named(certificates, tmp_path: Path) -> None:
    none = str(tmp_path / "none.pem")
    for key in ("certificate", "key"):
        with pytest.raises(ConfigurationError, match=rf"^http\.tls\.{key}: .*none.pem cannot be read"):
            ListenerTLS.of(configuration({**certificates.http(), key: none}))
    with pytest.raises(ConfigurationError, match=r"^http\.tls\.clientcas\[0\]: .*cannot be read"):
        ListenerTLS.of(configuration({**certificates.http(), "clientcas": [none]}))


def test_a_suite_that_openssl_no_longer_has_is_named(certificates) -> None:
    suites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"]
    with pytest.raises(ConfigurationError, match=r"^http\.tls\.ciphersuites\[1\]: .*does not have DES-CBC3"):
        ListenerTLS.of(configuration({**certificates.http(), "ciphersuites": suites}))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Certificates]:
    made = Certificates(tmp_path / "own")
    made.issue("listener")
    return made


def test_a_renewed_certificate_is_shown_to_the_next_client_and_the_others_go_on(
    start_registry, own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.tls.watch.INTERVAL", 0.05)
    registry = start_registry(http={"tls": own.http()})
    with handshake(registry, own.client()) as connection:
        before = connection.getpeercert(binary_form=True)
        own.renew("listener")
        deadline = time.monotonic() + 10
        while shown(registry, own) == before:
            assert time.monotonic() < deadline, "the new certificate is not used"
            time.sleep(0.02)
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def shown(registry, own: Certificates) -> bytes | None:
    with handshake(registry, own.client()) as connection:
        return connection.getpeercert(binary_form=True)
