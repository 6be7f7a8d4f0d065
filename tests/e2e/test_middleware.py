"""Storage middleware end to end, as the examples of the documents configure it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.backends import Resources, place
from support.client import V2Client, expect
from support.engine import skopeo_copy
from support.images import digest_of, make_image
from support.processes import wait_until
from support.registry import Up, running_up

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
IMAGE = make_image(50)
LAYER = IMAGE.layers[1]


class Files(SimpleHTTPRequestHandler):
    """Serves a folder, as nginx would for the example."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class WebServer:
    """A web server on a free port over a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WebServer, Path]]:
    """A web server over a folder, in which a registry's tree is below `registry`."""
    folder = tmp_path_factory.mktemp("files")
    server = WebServer(folder)
    yield server, folder / "registry"
    server.stop()


def redirecting(folder: Path, files: tuple[WebServer, Path], **settings: str) -> Any:
    """The example `redirect.yml`, with what this machine has in the place of what it names."""
    server, root = files
    environ = {
        "REGISTRY_CONFIGURATION_PATH": str(EXAMPLES / "redirect.yml"),
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root),
        "REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL": f"{server.url}/registry/",
    }
    return running_up(folder, {**environ, **settings})


@pytest.fixture(scope="module")
def redirect(files: tuple[WebServer, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with redirecting(tmp_path_factory.mktemp("redirect"), files) as up:
        with V2Client(up.url) as client:
            client.push_image("team/app", "v1", IMAGE)
        yield up


def path_of(digest: str) -> str:
    encoded = digest.removeprefix("sha256:")
    return f"/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_fetched_from_the_web_server(
    redirect: Up, files: tuple[WebServer, Path], method: str
) -> None:
    answer = httpx.request(method, f"{redirect.url}/v2/team/app/blobs/{LAYER.digest}")
    assert expect(answer, 307).headers["location"] == f"{files[0].url}/registry{path_of(LAYER.digest)}"
    assert answer.headers["docker-content-digest"] == LAYER.digest
    fetched = expect(httpx.request(method, answer.headers["location"]), 200)
    assert fetched.headers["content-length"] == str(len(LAYER.content))
    assert fetched.content == (LAYER.content if method == "GET" else b"")


def test_what_a_repository_does_not_link_is_not_redirected_to(redirect: Up) -> None:
    expect(httpx.get(f"{redirect.url}/v2/team/other/blobs/{LAYER.digest}"), 404)
    expect(httpx.get(f"{redirect.url}/v2/team/app/blobs/{digest_of(b'nothing')}"), 404)


def test_skopeo_pulls_by_way_of_the_web_server(redirect: Up, tmp_path: Path) -> None:
    skopeo_copy(f"docker://{redirect.address}/team/app:v1", f"oci:{tmp_path}/back:v1")
    pulled = {path.read_bytes() for path in (tmp_path / "back/blobs/sha256").iterdir()}
    assert {layer.content for layer in IMAGE.layers} <= pulled


def test_where_redirects_are_off_the_registry_serves_blobs_itself(
    redirect: Up, files: tuple[WebServer, Path], tmp_path: Path
) -> None:
    with (
        redirecting(tmp_path, files, REGISTRY_STORAGE_REDIRECT_DISABLE="true") as up,
        V2Client(up.url) as client,
    ):
        client.assert_holds("team/app", "v1", IMAGE)


def test_a_second_entry_changes_what_the_first_one_says(
    redirect: Up, files: tuple[WebServer, Path], tmp_path: Path
) -> None:
    rewrite = json.dumps({"scheme": "https", "host": "cdn.example:8443", "trimpathprefix": "/registry"})
    with redirecting(
        tmp_path,
        files,
        REGISTRY_MIDDLEWARE_STORAGE_1_NAME="rewrite",
        REGISTRY_MIDDLEWARE_STORAGE_1_OPTIONS=rewrite,
    ) as up:
        answer = expect(httpx.get(f"{up.url}/v2/team/app/blobs/{LAYER.digest}"), 307)
        assert answer.headers["location"] == f"https://cdn.example:8443{path_of(LAYER.digest)}"


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def cloudfront(
    request: pytest.FixtureRequest, files: tuple[WebServer, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    """The example `cloudfront.yml` over a bucket that is there, with a key and a list of networks of ours."""
    folder = tmp_path_factory.mktemp("cloudfront")
    key_file = folder / "cloudfront.pem"
    key_file.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    server, root = files
    networks = {"ip_prefix": "192.0.2.0/24", "region": "us-east-1", "service": "EC2"}
    (root.parent / "ip-ranges.json").write_text(json.dumps({"prefixes": [networks], "ipv6_prefixes": []}))
    resources = Resources(
        folder, ceph=lambda: request.getfixturevalue("ceph"), s3=lambda: request.getfixturevalue("s3")
    )
    bucket = {
        f"REGISTRY_STORAGE_S3_{key.upper()}": json.dumps(value)
        for key, value in place("s3", resources).items()
    }
    environ = {
        "REGISTRY_CONFIGURATION_PATH": str(EXAMPLES / "cloudfront.yml"),
        **bucket,
        "REGISTRY_STORAGE_S3_ROOTDIRECTORY": "/in a folder",
        "REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_PRIVATEKEY": str(key_file),
        "REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_IPRANGESURL": f"{server.url}/ip-ranges.json",
    }
    with running_up(folder / "up", environ, storage={}) as up, V2Client(up.url) as client:
        client.push_image("team/app", "v1", IMAGE)
        yield up


def redirected(registry: Up, client: str) -> str:
    """Where a client at an address, of which a trusted proxy tells, is sent for a blob."""
    url = f"{registry.url}/v2/team/app/blobs/{LAYER.digest}"
    return expect(httpx.get(url, headers={"x-forwarded-for": client}), 307).headers["location"]


def test_a_client_anywhere_gets_a_url_that_cloudfront_takes(cloudfront: Up) -> None:
    url = redirected(cloudfront, "198.51.100.1")
    resource, _, query = url.partition("?")
    assert resource == f"https://d111111abcdef8.cloudfront.net/in%20a%20folder{path_of(LAYER.digest)}"
    parameters = {name: values[0] for name, values in parse_qs(query).items()}
    assert parameters["Key-Pair-Id"] == "K2JCJMDEHXQW5F"
    policy = (
        f'{{"Statement":[{{"Resource":"{resource}","Condition":'
        f'{{"DateLessThan":{{"AWS:EpochTime":{parameters["Expires"]}}}}}}}]}}'
    )
    signature = parameters["Signature"].translate(str.maketrans("-_~", "+=/"))
    KEY.public_key().verify(base64.b64decode(signature), policy.encode(), padding.PKCS1v15(), SHA1())


def test_a_client_next_to_the_bucket_gets_the_bucket_s_own_url(cloudfront: Up) -> None:
    def direct() -> str:
        url = redirected(cloudfront, "192.0.2.7")
        return "" if "cloudfront" in urlsplit(url).netloc else url

    url = wait_until(direct, timeout=20, what="the list of networks was fetched")
    assert expect(httpx.get(url), 200).content == LAYER.content
