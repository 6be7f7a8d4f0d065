"""What the parameters make of the requests, and what errors say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from blob_service.drivers.errors import DriverError, InvalidPathError, PathNotFoundError
from blob_service.drivers.interface import RedirectRequest
from blob_service.drivers.s3 import requests as requests_module
from blob_service.drivers.s3.driver import S3Driver
from blob_service.drivers.s3.settings import Settings
from support.processes import free_port
from support.s3 import TestBucket

MIB = 1 << 20

MakeDriver = Callable[..., S3Driver]
WatchRequests = Callable[[S3Driver], Awaitable[Any]]


async def store_in_every_way(driver: S3Driver) -> None:
    """Every call that makes an object."""
    await driver.put_content("/put", b"content")
    await driver.move("/put", "/copied")
    async with await driver.writer("/parts") as writer:
        await writer.write(b"x" * (6 * MIB))
        await writer.commit()


MAKING = ("PutObject", "CopyObject", "CreateMultipartUpload")


async def test_objects_are_encrypted_with_a_key_of_the_key_management_service(
    make_driver: MakeDriver, requests_of: WatchRequests, bucket: TestBucket, root: str
) -> None:
    driver = make_driver(encrypt=True, keyid="registry-key")
    requests = await requests_of(driver)
    await store_in_every_way(driver)
    for operation in MAKING:
        headers = requests.headers(operation)
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "registry-key"
    client = bucket.client()
    for path in ("copied", "parts"):
        found = client.head_object(Bucket=bucket.name, Key=f"{root}/{path}")
        assert found["ServerSideEncryption"] == "aws:kms"
    client.close()
    assert await driver.get_content("/copied") == b"content"
    assert await driver.get_content("/parts") == b"x" * (6 * MIB)
    # A gateway that copies nothing encrypted (this one) has it read and written.
    await driver.move("/parts", "/moved")
    assert await driver.get_content("/moved") == b"x" * (6 * MIB)


async def test_encryption_without_a_key_is_s3_s_own(
    make_driver: MakeDriver, requests_of: WatchRequests
) -> None:
    driver = make_driver(encrypt=True)
    requests = await requests_of(driver)
    # This gateway has no key of its own and stores it as it is; what it was asked for is what counts.
    await driver.put_content("/put", b"content")
    assert requests.headers("PutObject")["x-amz-server-side-encryption"] == "AES256"


@pytest.mark.parametrize(("storage_class", "sent"), [("STANDARD", "STANDARD"), ("NONE", None)])
async def test_the_storage_class_goes_with_every_object(
    make_driver: MakeDriver, requests_of: WatchRequests, storage_class: str, sent: str | None
) -> None:
    driver = make_driver(storageclass=storage_class)
    requests = await requests_of(driver)
    await store_in_every_way(driver)
    for operation in MAKING:
        assert requests.headers(operation).get("x-amz-storage-class") == sent


@pytest.mark.parametrize(("acl", "sent"), [("public-read", "public-read"), ("private", None)])
async def test_the_acl_goes_with_every_object_unless_it_is_the_usual_one(
    make_driver: MakeDriver, requests_of: WatchRequests, acl: str, sent: str | None
) -> None:
    driver = make_driver(objectacl=acl)
    requests = await requests_of(driver)
    await store_in_every_way(driver)
    for operation in MAKING:
        assert requests.headers(operation).get("x-amz-acl") == sent


async def test_the_user_agent_is_added_to(make_driver: MakeDriver, requests_of: WatchRequests) -> None:
    driver = make_driver(useragent="harbour/7")
    requests = await requests_of(driver)
    await driver.put_content("/put", b"")
    assert requests.headers("PutObject")["user-agent"].endswith(" harbour/7")


async def test_an_old_endpoint_gets_the_old_signature(
    make_driver: MakeDriver, requests_of: WatchRequests
) -> None:
    driver = make_driver(v4auth=False)
    requests = await requests_of(driver)
    await store_in_every_way(driver)
    assert requests.headers("PutObject")["authorization"].startswith("AWS registry:")


async def test_credentials_come_from_the_standard_chain_when_none_are_given(
    make_driver: MakeDriver, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.access.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.access.secret_key)
    driver = make_driver(accesskey=None, secretkey=None)
    await driver.put_content("/put", b"content")
    assert await driver.get_content("/put") == b"content"


@pytest.mark.parametrize("given", ["url", "host"])
async def test_an_endpoint_may_be_a_url_or_a_host(make_driver: MakeDriver, given: str) -> None:
    endpoint = make_driver()._connection._settings.regionendpoint or ""
    driver = make_driver(
        regionendpoint=endpoint if given == "url" else endpoint.removeprefix("http://"), secure=False
    )
    await driver.put_content("/put", b"content")


@pytest.mark.parametrize(
    ("parameters", "host"),
    [
        ({}, "images.s3.eu-central-1.amazonaws.com"),
        ({"forcepathstyle": True}, "s3.eu-central-1.amazonaws.com"),
        ({"usedualstack": True}, "images.s3.dualstack.eu-central-1.amazonaws.com"),
        ({"accelerate": True}, "images.s3-accelerate.amazonaws.com"),
        ({"usefipsendpoint": True, "region": "us-east-1"}, "images.s3-fips.us-east-1.amazonaws.com"),
        ({"redirectendpoint": "https://cdn.example.org", "forcepathstyle": True}, "cdn.example.org"),
        ({"regionendpoint": "s3.example.org:9000"}, "s3.example.org:9000"),
        ({"regionendpoint": "s3.example.org", "forcepathstyle": False}, "images.s3.example.org"),
    ],
)
async def test_the_endpoint_is_the_one_that_the_parameters_mean(
    parameters: dict[str, Any], host: str
) -> None:
    settings = {
        "bucket": "images",
        "region": "eu-central-1",
        "accesskey": "a",
        "secretkey": SecretStr("b"),
        "rootdirectory": "/registry/",
        **parameters,
    }
    driver = S3Driver(Settings.of(settings))
    url = urlsplit(await driver.redirect_url(RedirectRequest("GET"), "/a/b") or "")
    assert url.netloc == host
    assert url.path == ("/registry/a/b" if host.startswith("images.") else "/images/registry/a/b")
    assert url.scheme == "https"
    await driver.close()


async def test_a_signed_url_works_for_twenty_minutes_and_for_one_method(driver: S3Driver) -> None:
    for method in ("GET", "HEAD"):
        query = parse_qs(urlsplit(await driver.redirect_url(RedirectRequest(method), "/a") or "").query)
        assert query["X-Amz-Expires"] == ["1200"]
        assert query["X-Amz-SignedHeaders"] == ["host"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@asynccontextmanager
async def over_tls(endpoint: str, certificate: Path) -> AsyncIterator[str]:
    """An address that speaks TLS and passes everything on to an endpoint without it."""
    target = urlsplit(endpoint)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(target.hostname, target.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                # One side has gone, and takes the other one with it.
                sink.transport.abort()
            finally:
                sink.close()

        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))

    server = await asyncio.start_server(pass_on, "127.0.0.1", free_port(), ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_not_looked_at(
    make_driver: MakeDriver, bucket: TestBucket, certificate: Path
) -> None:
    async with over_tls(bucket.access.endpoint, certificate) as address:
        driver = make_driver(regionendpoint=address)
        with pytest.raises(DriverError, match="SSL validation failed"):
            await driver.put_content("/put", b"content")
        trusting = make_driver(regionendpoint=address, skipverify=True)
        await trusting.put_content("/put", b"content")
        await store_in_every_way(trusting)
        assert await trusting.get_content("/parts") == b"x" * (6 * MIB)
        await driver.close()
        await trusting.close()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"secretkey": SecretStr("hush")}, "SignatureDoesNotMatch"),
        ({"accesskey": "nobody"}, "InvalidAccessKeyId"),
        ({"bucket": "no-such-bucket"}, "NoSuchBucket"),
    ],
)
async def test_an_error_says_what_the_endpoint_said_and_no_secret(
    make_driver: MakeDriver, parameters: dict[str, Any], sentence: str
) -> None:
    driver = make_driver(**parameters)
    with pytest.raises(DriverError) as caught:
        await driver.put_content("/put", b"content")
    assert sentence in str(caught.value)
    assert "PutObject of /put" in str(caught.value)
    assert "hush" not in str(caught.value)
    # A bucket that is not there is not an empty one.
    with pytest.raises(DriverError):
        await driver.stat("/")


async def test_an_endpoint_that_is_not_there_fails_after_a_few_attempts(
    make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "_FIRST_WAIT", 0.001)
    driver = make_driver(regionendpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DriverError, match="GetObject of /put: Could not connect"):
        await driver.get_content("/put")


async def test_what_will_not_pass_is_tried_once(make_driver: MakeDriver, requests_of: WatchRequests) -> None:
    driver = make_driver(secretkey=SecretStr("wrong"))
    requests = await requests_of(driver)
    with pytest.raises(DriverError):
        await driver.put_content("/put", b"content")
    with pytest.raises(PathNotFoundError):
        await make_driver().get_content("/missing")
    assert requests.names() == ["PutObject"]


async def test_no_key_is_longer_than_s3_takes(driver: S3Driver) -> None:
    path = "/" + "/".join(["x" * 60] * 20)
    for call in (
        driver.put_content(path, b""),
        driver.get_content(path),
        driver.stat(path),
        driver.writer(path),
        driver.move("/a", path),
    ):
        with pytest.raises((InvalidPathError, PathNotFoundError)):
            await call


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("off", []),
        ("debug", ["PutObject ok", "GetObject ConnectionClosedError", "GetObject repeated", "GetObject ok"]),
        ("debugwithrequesterrors", ["GetObject ConnectionClosedError"]),
        ("debugwithrequestretries", ["GetObject repeated"]),
    ],
)
async def test_requests_are_logged_as_far_as_the_log_level_says(
    make_driver: MakeDriver,
    requests_of: WatchRequests,
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    logged: list[str],
) -> None:
    lines: list[str] = []

    def keep(_logger: object, method: str, event: dict[str, Any]) -> str:
        assert method == "debug"
        assert "registry-secret" not in str(event)
        lines.append(f"{event['operation']} {event.get('outcome', 'repeated')}")
        raise structlog.DropEvent

    wrapped = structlog.wrap_logger(structlog.PrintLogger(), processors=[keep])
    monkeypatch.setattr(requests_module, "log", wrapped)
    driver = make_driver(loglevel=level)
    requests = await requests_of(driver)
    await driver.put_content("/put", b"content")
    requests.break_the_connection("GetObject")
    await driver.get_content("/put")
    assert lines == logged
