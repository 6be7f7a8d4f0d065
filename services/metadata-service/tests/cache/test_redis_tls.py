"""TLS to a real redis-server: who is believed, and what is wrong with a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from metadata_service.cache import open_cache
from metadata_service.cache.interface import CacheAwayError
from metadata_service.descriptors import BlobDescriptor
from moorage.config import ConfigurationError, parse
from moorage.digest import Digest
from support.processes import free_port
from support.redis import RedisServer, running_redis, running_sentinel

DIGEST = Digest.of(b"a layer")
DESCRIPTOR = BlobDescriptor(DIGEST, 7)


@dataclass
class Files:
    authority: Path
    stranger: Path
    server: Path
    client_certificate: Path
    client_key: Path


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """An authority, what it issued, and another authority."""
    folder = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    issued = Files(
        *(folder / name for name in ("ca.pem", "other.pem", "server.pem", "client.pem", "key.pem"))
    )
    authority.cert_pem.write_to_path(issued.authority)
    stranger.cert_pem.write_to_path(issued.stranger)
    # For the name, so that the address does not do.
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(issued.server)
    client = authority.issue_cert("registry@example.org")
    client.cert_chain_pems[0].write_to_path(issued.client_certificate)
    client.private_key_pem.write_to_path(issued.client_key)
    return issued


def tls_options(files: Files, clients: str) -> list[str]:
    return [
        *("--tls-cert-file", str(files.server), "--tls-key-file", str(files.server)),
        *("--tls-ca-cert-file", str(files.authority), "--tls-auth-clients", clients),
    ]


@pytest.fixture(params=["no", "yes"])
def server(tmp_path: Path, files: Files, request) -> Iterator[tuple[RedisServer, int]]:
    """A server, its encrypted port, and whether it wants a client's certificate."""
    port = free_port()
    options = ["--tls-port", str(port), *tls_options(files, request.param)]
    with running_redis(tmp_path / "redis", *options) as redis:
        redis.wants_certificate = request.param == "yes"
        yield redis, port


def section(port: int, tls: str, host: str = "localhost") -> str:
    return f"{{addr: '{host}:{port}', dialtimeout: 5s, tls: {tls}}}"


async def test_descriptors_travel_encrypted(opened, server, files) -> None:
    _, port = server
    own = f"certificate: {files.client_certificate}, key: {files.client_key}"
    for authorities in (f"clientcas: [{files.stranger}, {files.authority}]", f"rootcas: {files.authority}"):
        cache = opened(section(port, f"{{{own}, {authorities}}}"))
        await cache.add("team/app", DIGEST, DESCRIPTOR)
        assert await cache.get("team/app", DIGEST) == DESCRIPTOR


async def test_a_client_without_a_certificate_is_served_only_where_none_is_wanted(
    opened, server, files
) -> None:
    redis, port = server
    cache = opened(section(port, f"{{rootcas: [{files.authority}]}}"))
    if redis.wants_certificate:
        with pytest.raises(CacheAwayError):
            await cache.add("team/app", DIGEST, DESCRIPTOR)
    else:
        await cache.add("team/app", DIGEST, DESCRIPTOR)


@pytest.mark.parametrize("who", ["a stranger's", "no", "the system's"])
async def test_a_server_whose_authority_is_not_trusted_is_told_nothing(opened, server, files, who) -> None:
    _, port = server
    tls = {"a stranger's": f"{{rootcas: [{files.stranger}]}}"}.get(who, "{enabled: true}")
    with pytest.raises(CacheAwayError, match=r"certificate verify failed|CERTIFICATE_VERIFY_FAILED"):
        await opened(section(port, tls)).add("team/app", DIGEST, DESCRIPTOR)


async def test_a_server_under_another_name_than_its_certificate_s_is_told_nothing(
    opened, server, files
) -> None:
    _, port = server
    cache = opened(section(port, f"{{rootcas: [{files.authority}]}}", host="127.0.0.1"))
    with pytest.raises(CacheAwayError, match="certificate"):
        await cache.add("team/app", DIGEST, DESCRIPTOR)


async def test_an_unencrypted_server_is_not_spoken_to_without_encryption(opened, redis_server, files) -> None:
    cache = opened(section(redis_server.port, f"{{rootcas: [{files.authority}]}}"))
    with pytest.raises(CacheAwayError):
        await cache.add("team/app", DIGEST, DESCRIPTOR)


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [
        (
            "{certificate: NONE, key: KEY}",
            "redis.tls.certificate: cannot be read: No such file or directory",
        ),
        (
            "{certificate: CERTIFICATE, key: NONE}",
            "redis.tls.certificate: cannot be read: No such file or directory",
        ),
        (
            "{certificate: CERTIFICATE, key: AUTHORITY}",
            "redis.tls.certificate: is not, together with redis.tls.key, a PEM certificate with its key",
        ),
        ("{rootcas: [AUTHORITY, NONE]}", "redis.tls.rootcas[1]: cannot be read: No such file or directory"),
        ("{clientcas: [KEY]}", "redis.tls.clientcas[0]: holds no PEM certificates"),
        ("{clientcas: [FOLDER]}", "redis.tls.clientcas[0]: cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(files, tls: str, sentence: str) -> None:
    places = {
        "NONE": files.authority.with_name("none.pem"),
        "FOLDER": files.authority.parent,
        "CERTIFICATE": files.client_certificate,
        "AUTHORITY": files.authority,
        "KEY": files.client_key,
    }
    for word, path in places.items():
        tls = tls.replace(word, str(path))
    storage = "{inmemory: , cache: {blobdescriptor: redis}}"
    config = parse(f"version: 0.1\nstorage: {storage}\nredis: {section(6379, tls)}\n", {})
    with pytest.raises(ConfigurationError) as caught:
        open_cache(config)
    assert str(caught.value) == sentence


async def test_sentinels_and_their_master_are_spoken_to_with_encryption(opened, tmp_path, files) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(files.authority)
    # Sentinels give addresses, not names.
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(files.server)
    options = tls_options(files, "no")
    master_port, port = free_port(), free_port()
    with (
        running_redis(tmp_path / "master", "--tls-port", str(master_port), *options) as master,
        running_sentinel(
            tmp_path / "sentinel", master_port, "--tls-port", str(port), "--tls-replication", "yes", *options
        ),
    ):
        tls = f"tls: {{rootcas: [{files.authority}]}}"
        cache = opened(f"{{addrs: ['127.0.0.1:{port}'], mastername: main, dialtimeout: 5s, {tls}}}")
        await cache.add("team/app", DIGEST, DESCRIPTOR)
        assert await cache.get("team/app", DIGEST) == DESCRIPTOR
        assert master.client.sismember("repository::team/app::blobs", str(DIGEST))
