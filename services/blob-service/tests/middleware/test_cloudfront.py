"""Signed URLs, checked with the public half of a real key, as CloudFront checks them."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption as Encrypted
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from blob_service.drivers.interface import RedirectRequest
from moorage.config import ConfigurationError

PKCS1 = PrivateFormat.TraditionalOpenSSL
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
GET = RedirectRequest("GET", "192.0.2.7")
DIRECT = "https://s3.example/bucket/root%20folder/docker/data?X-Amz-Signature=GET"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.private_bytes(Encoding.PEM, PKCS1, NoEncryption()))
    return path


@pytest.fixture
async def cloudfront(bucket, wrapped, key_file: Path) -> AsyncIterator[Callable[..., object]]:
    """`cloudfront(options)`: the bucket behind a CloudFront distribution."""
    made = []

    def make(options: str = "", driver: object = bucket) -> object:
        given = f"baseurl: d111.cloudfront.example, privatekey: {key_file}, keypairid: APKAEXAMPLE"
        made.append(wrapped(driver, f"{{name: cloudfront, options: {{{given}{options}}}}}"))
        return made[-1]

    yield make
    for driver in made:
        await driver.close()


def decoded(text: str) -> bytes:
    """CloudFront's Base64, whose three letters need no escape in a URL."""
    assert set("+=/").isdisjoint(text)
    return base64.b64decode(text.replace("-", "+").replace("_", "=").replace("~", "/"), validate=True)


def check_signature(url: str, resource: str, expires: int) -> None:
    """What CloudFront does: build the canned policy from the request, and verify the signature over it."""
    before = f'{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}'
    policy = f'{{"Statement":[{{"Resource":"{resource}","Condition":{before}}}]}}'
    signature = decoded(parse_qs(urlsplit(url).query)["Signature"][0])
    KEY.public_key().verify(signature, policy.encode(), padding.PKCS1v15(), SHA1())


async def test_a_url_is_signed_with_the_canned_policy_and_the_key(cloudfront) -> None:
    url = await cloudfront().redirect_url(GET, "/docker/data")
    resource, _, query = url.partition("?")
    assert resource == "https://d111.cloudfront.example/root%20folder/docker/data"
    assert [part.partition("=")[0] for part in query.split("&")] == ["Expires", "Signature", "Key-Pair-Id"]
    parameters = parse_qs(query)
    assert parameters["Key-Pair-Id"] == ["APKAEXAMPLE"]
    expires = int(parameters["Expires"][0])
    assert 19 * 60 < expires - time.time() <= 20 * 60
    check_signature(url, resource, expires)
    with pytest.raises(InvalidSignature):
        check_signature(url, resource, expires + 1)
    with pytest.raises(InvalidSignature):
        check_signature(url, resource.replace("data", "other"), expires)


async def test_the_duration_is_the_options(cloudfront) -> None:
    url = await cloudfront(", duration: 3000s").redirect_url(GET, "/docker/data")
    assert 2990 < int(parse_qs(urlsplit(url).query)["Expires"][0]) - time.time() <= 3000


async def test_a_key_in_the_newer_form_serves_as_well(cloudfront, key_file: Path) -> None:
    key_file.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    url = await cloudfront().redirect_url(GET, "/docker/data")
    resource, _, query = url.partition("?")
    check_signature(url, resource, int(parse_qs(query)["Expires"][0]))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"not a key", "holds no private key in PEM form without a password"),
        (
            KEY.private_bytes(Encoding.PEM, PKCS1, Encrypted(b"hush")),
            "holds no private key in PEM form without",
        ),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PKCS1, NoEncryption()),
            "holds a private key that is not RSA",
        ),
    ],
)
async def test_a_key_that_cannot_sign_is_an_error_of_the_configuration(
    cloudfront, key_file: Path, content: bytes | None, problem: str
) -> None:
    key_file.unlink()
    if content is not None:
        key_file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        cloudfront()
    assert str(caught.value).startswith(f"middleware.storage[0].options.privatekey: {key_file} {problem}")


async def test_over_a_driver_without_a_bucket_it_does_nothing_and_says_so_once(cloudfront, folder) -> None:
    with structlog.testing.capture_logs() as lines:
        driver = cloudfront("", folder)
        assert await driver.redirect_url(GET, "/docker/data") is None
        assert await driver.redirect_url(GET, "/docker/data") is None
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "cloudfront does nothing: the storage driver has no bucket"
    ]


class Amazon:
    """Serves `ip-ranges.json`, or what a test wants instead of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = 0
        self.status = 200
        self.document: object = {
            "prefixes": [
                {"ip_prefix": "192.0.2.0/25", "region": "us-east-1", "service": "EC2"},
                {"ip_prefix": "192.0.2.128/25", "region": "eu-west-1", "service": "S3"},
                {"ip_prefix": "no network", "region": "us-east-1", "service": "EC2"},
            ],
            "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/48", "region": "us-east-1", "service": "EC2"}],
        }


@pytest.fixture
async def amazon() -> AsyncIterator[Amazon]:
    async def answer(_: web.Request) -> web.Response:
        serving.requests += 1
        return web.json_response(serving.document, status=serving.status)

    application = web.Application()
    application.router.add_get("/ip-ranges.json", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    serving = Amazon(f"http://{host}:{port}/ip-ranges.json")
    yield serving
    await runner.cleanup()


async def redirects(driver, address: str) -> str:
    """Where a client at an address is sent: `s3` or `cloudfront`."""
    url = await driver.redirect_url(RedirectRequest("GET", address), "/docker/data")
    return "s3" if url == DIRECT else urlsplit(url).hostname.split(".")[1]


@pytest.mark.parametrize(
    ("filtered", "address", "place"),
    [
        ("none", "192.0.2.7", "cloudfront"),
        ("aws", "192.0.2.7", "s3"),
        ("aws", "192.0.2.200", "s3"),
        ("aws", "::ffff:192.0.2.7", "s3"),
        ("aws", "2001:db8::1", "s3"),
        ("aws", "2001:db8:1::1", "cloudfront"),
        ("aws", "198.51.100.1", "cloudfront"),
        ("aws", "192.0.1.255", "cloudfront"),
        ("aws", "", "cloudfront"),
        ("aws", "not an address", "cloudfront"),
        ("awsregion, awsregion: 'us-east-1, ap-south-1'", "192.0.2.7", "s3"),
        ("awsregion, awsregion: 'US-EAST-1'", "192.0.2.7", "s3"),
        ("awsregion, awsregion: us-east-1", "192.0.2.200", "cloudfront"),
    ],
)
async def test_clients_next_to_the_bucket_go_there_directly(
    cloudfront, amazon: Amazon, eventually, filtered: str, address: str, place: str
) -> None:
    driver = cloudfront(f", ipfilteredby: {filtered}, iprangesurl: '{amazon.url}'")
    if filtered == "none":
        assert await redirects(driver, address) == place
        assert amazon.requests == 0
        return

    async def had() -> bool:
        return await redirects(driver, "192.0.2.7") == "s3"

    await eventually(had, "the ranges were fetched")
    assert await redirects(driver, address) == place


async def test_until_the_ranges_are_had_everybody_goes_to_cloudfront(cloudfront, amazon: Amazon) -> None:
    amazon.status = 503
    driver = cloudfront(f", ipfilteredby: aws, iprangesurl: '{amazon.url}'")
    assert await redirects(driver, "192.0.2.7") == "cloudfront"


@pytest.mark.parametrize("wrong", ["not found", "no map", "no list"])
async def test_the_ranges_are_brought_up_to_date_and_kept_when_that_fails(
    cloudfront, amazon: Amazon, eventually, wrong: str
) -> None:
    driver = cloudfront(f", ipfilteredby: aws, iprangesurl: '{amazon.url}', updatefrequency: 20ms")

    async def goes_to(address: str, place: str) -> bool:
        return await redirects(driver, address) == place

    await eventually(lambda: goes_to("192.0.2.7", "s3"), "the ranges were fetched")
    amazon.document = {
        "prefixes": [{"ip_prefix": "203.0.113.0/24", "region": "us-east-1"}],
        "ipv6_prefixes": [],
    }
    await eventually(lambda: goes_to("203.0.113.9", "s3"), "the ranges were fetched again")
    assert await redirects(driver, "192.0.2.7") == "cloudfront"

    match wrong:
        case "not found":
            amazon.status = 404
        case "no map":
            amazon.document = []
        case _:
            amazon.document = {"prefixes": "none"}
    asked = amazon.requests
    await eventually(lambda: amazon.requests > asked + 2, "it was asked again")
    assert await redirects(driver, "203.0.113.9") == "s3"
