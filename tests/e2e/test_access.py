"""Real clients with passwords, and with the tokens of another server; docker-registry with the same files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_gateway.access.token.keys import fingerprint
from support.accounts import write_accounts
from support.certificates import certified
from support.client import expect
from support.engine import DockerEngine, load_image, skopeo, skopeo_copy
from support.images import make_image, write_oci_layout
from support.processes import Process, accepts_connections, free_port, wait_until
from support.registry import (
    MOORAGE,
    DockerRegistry,
    Up,
    clean_environment,
    running_docker_registry,
    running_up,
)
from support.tokenserver import Issuer, TokenServer

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PASSWORDS = {"ann": "the password of ann", "bob": "the password of bob: ünusual"}
REFUSED = r"denied|unauthorized|authentication required"


# A token server of somebody else's


@pytest.fixture(scope="module")
def server() -> Iterator[TokenServer]:
    """Everybody may pull what is below `public`; ann pushes there and in her own, bob reads that."""
    authority = certified("token server")
    key_id = fingerprint(authority.key.public_key())
    issuer = Issuer(authority.key, key_id=key_id, certificate=authority.pem)
    grants = {
        "": {"repository:public/app:pull"},
        "ann": {
            f"repository:{name}/app:{action}" for name in ("public", "ann") for action in ("pull", "push")
        },
        "bob": {"repository:ann/app:pull"},
    }
    with TokenServer(issuer, PASSWORDS, grants).running() as server:
        yield server


def settings_of(server: TokenServer, folder: Path) -> dict[str, str]:
    """What the example is about, for this server."""
    bundle = folder / "bundle.pem"
    bundle.write_text(server.issuer.certificate)
    return {
        "REGISTRY_CONFIGURATION_PATH": str(EXAMPLES / "token-server.yml"),
        "REGISTRY_AUTH_TOKEN_REALM": server.url,
        "REGISTRY_AUTH_TOKEN_SERVICE": server.issuer.service,
        "REGISTRY_AUTH_TOKEN_ISSUER": server.issuer.name,
        "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE": str(bundle),
    }


@pytest.fixture(scope="module")
def guarded(server: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("guarded")
    environment = {**settings_of(server, folder), "REGISTRY_HTTP_WORKERS": "1"}
    with running_up(folder / "up", environment) as up:
        yield up


@pytest.fixture(scope="module")
def guarded_peer(server: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    folder = tmp_path_factory.mktemp("peer")
    environment = settings_of(server, folder)
    with running_docker_registry(folder / "root", folder, environment) as registry:
        yield registry


def config_of(folder: Path, user: str) -> tuple[str, Path]:
    """Where docker keeps a user's logins."""
    return "--config", folder / f"docker-{user}"


def push(engine: DockerEngine, config: tuple[str, Path], name: str) -> str:
    """Push an image, and give its digest."""
    return next(word for word in engine(*config, "push", name).split() if word.startswith("sha256:"))


def test_docker_gets_its_tokens_from_another_server(
    server: TokenServer, guarded: Up, engine: DockerEngine, tmp_path: Path
) -> None:
    public, private, other = (f"{guarded.address}/{name}/app:one" for name in ("public", "ann", "other"))
    load_image(engine, make_image(71), tmp_path, public, private, other)
    ann, bob, nobody = (config_of(tmp_path, user) for user in ("ann", "bob", "nobody"))
    with pytest.raises(AssertionError, match="unauthorized"):
        engine(*ann, "login", "-u", "ann", "-p", "wrong", guarded.address)
    for user, config in (("ann", ann), ("bob", bob)):
        engine(*config, "login", "-u", user, "-p", PASSWORDS[user], guarded.address)
    for config, name in ((nobody, public), (bob, public), (bob, private), (ann, other)):
        with pytest.raises(AssertionError, match=REFUSED):
            engine(*config, "push", name)
    digest = push(engine, ann, public)
    assert push(engine, ann, private) == digest
    engine("rmi", "-f", public, private, other)
    for config, name in ((nobody, public), (bob, private), (ann, private)):
        assert digest in engine(*config, "pull", name)
        engine("rmi", "-f", name)
    with pytest.raises(AssertionError, match=REFUSED):
        engine(*nobody, "pull", private)
    # The scopes that the challenges named are what the engine asked for.
    asked = {in_order(scope) for query in server.asked for scope in query.get("scope", [])}
    assert {"repository:public/app:pull,push", "repository:ann/app:pull"} <= asked
    assert {service for query in server.asked for service in query["service"]} == {server.issuer.service}


def test_skopeo_copies_with_credentials_and_not_without(guarded: Up, tmp_path: Path) -> None:
    layout = write_oci_layout(tmp_path / "source", {"one": make_image(72)})
    remote = f"docker://{guarded.address}/ann/app:two"
    ann, bob = (f"{user}:{PASSWORDS[user]}" for user in ("ann", "bob"))
    for credentials in ((), ("--dest-creds", bob), ("--dest-creds", "ann:wrong")):
        with pytest.raises(AssertionError, match=rf"{REFUSED}|invalid username/password"):
            skopeo_copy(f"oci:{layout}:one", remote, *credentials)
    skopeo_copy(f"oci:{layout}:one", remote, "--dest-creds", ann)
    skopeo_copy(remote, f"oci:{tmp_path}/back:one", "--src-creds", bob)
    with pytest.raises(AssertionError, match=REFUSED):
        skopeo("delete", "--tls-verify=false", "--creds", ann, remote)


def in_order(text: str) -> str:
    """A scope, or a challenge with one, with resources and actions in order: others give them in any."""
    text = re.sub(r"[a-z]+(?:,[a-z]+)+", lambda match: ",".join(sorted(match[0].split(","))), text)
    return re.sub(r'(?<=scope=")[^"]*', lambda match: " ".join(sorted(match[0].split())), text)


ASKED = [
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/ann/app/tags/list"),
    ("GET", "/v2/ann/app/manifests/v1"),
    ("HEAD", "/v2/ann/app/manifests/v1"),
    ("PUT", "/v2/ann/app/manifests/v1"),
    ("DELETE", "/v2/ann/app/manifests/v1"),
    ("GET", "/v2/ann/app/blobs/sha256:" + "a" * 64),
    ("DELETE", "/v2/ann/app/blobs/sha256:" + "a" * 64),
    ("POST", "/v2/ann/app/blobs/uploads/"),
    ("POST", "/v2/ann/app/blobs/uploads/?mount=sha256:" + "a" * 64 + "&from=bob/app"),
]


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_challenges_are_those_of_docker_registry(
    server: TokenServer, guarded: Up, guarded_peer: DockerRegistry, method: str, path: str
) -> None:
    """To the letter but for the order of scopes, so that whatever client knows the one knows the other."""
    issuer = server.issuer
    for headers in (
        {},
        {"Authorization": "Bearer a.b.c"},
        issuer.bearer("repository:other/app:pull"),
        issuer.bearer("repository:ann/app:pull", exp=1),
        Issuer().bearer("repository:ann/app:pull,push"),
    ):
        ours, theirs = (
            httpx.request(method, each.url + path, headers=headers) for each in (guarded, guarded_peer)
        )
        assert refusal(ours) == refusal(theirs)


def refusal(answer: httpx.Response) -> tuple[int, str, list[dict[str, Any]]]:
    """Status, challenge, and the errors of a 401, where a detail may be null or absent."""
    errors = answer.json()["errors"] if answer.status_code == 401 and answer.content else []
    return (
        answer.status_code,
        in_order(answer.headers.get("www-authenticate", "")),
        [{name: value for name, value in error.items() if value is not None} for error in errors],
    )


# Passwords


@contextmanager
def with_passwords(folder: Path, path: Path) -> Iterator[Up]:
    environment = {
        "REGISTRY_CONFIGURATION_PATH": str(EXAMPLES / "htpasswd.yml"),
        "REGISTRY_AUTH_HTPASSWD_PATH": str(path),
    }
    with running_up(folder / "up", environment) as up:
        yield up


def test_docker_and_skopeo_log_in_with_passwords(engine: DockerEngine, tmp_path: Path) -> None:
    file = write_accounts(tmp_path / "htpasswd", {"ann": PASSWORDS["ann"]})
    with with_passwords(tmp_path, file) as up:
        name = f"{up.address}/team/app:one"
        load_image(engine, make_image(73), tmp_path, name)
        ann, nobody = config_of(tmp_path, "ann"), config_of(tmp_path, "nobody")
        answer = expect(httpx.get(f"{up.url}/v2/"), 401)
        assert answer.headers["www-authenticate"] == 'Basic realm="The registry"'
        with pytest.raises(AssertionError, match="401 Unauthorized"):
            engine(*ann, "login", "-u", "ann", "-p", "wrong", up.address)
        engine(*ann, "login", "-u", "ann", "-p", PASSWORDS["ann"], up.address)
        with pytest.raises(AssertionError, match=r"no basic auth credentials|unauthorized"):
            engine(*nobody, "push", name)
        digest = push(engine, ann, name)
        engine("rmi", "-f", name)
        with pytest.raises(AssertionError, match=r"no basic auth credentials|unauthorized"):
            engine(*nobody, "pull", name)
        assert digest in engine(*ann, "pull", name)
        engine("rmi", "-f", name)

        bob = f"bob:{PASSWORDS['bob']}"
        with pytest.raises(AssertionError, match=REFUSED):
            skopeo_copy(f"docker://{name}", f"oci:{tmp_path}/back:one", "--src-creds", bob)
        write_accounts(file, {"bob": PASSWORDS["bob"]})
        wait_until(
            lambda: all(
                httpx.get(f"{up.url}/v2/", auth=(b"bob", PASSWORDS["bob"].encode())).status_code == 200
                for _ in range(8)
            ),
            timeout=20,
            what="the new account counts in every process",
        )
        skopeo_copy(f"docker://{name}", f"oci:{tmp_path}/back:one", "--src-creds", bob)
        with pytest.raises(AssertionError, match=r"unauthorized|no basic auth credentials"):
            engine(*ann, "pull", name)
        log = up.process.log.read_text()
        assert not [password for password in PASSWORDS.values() if password in log]


# What does not start


def test_a_mistake_ends_the_gateway_before_it_listens(tmp_path: Path) -> None:
    """With several processes; `services/api-gateway/tests/access/test_mistakes.py` has more mistakes."""
    auth = "{token: {realm: 'https://t.example/', service: s, issuer: i, jwks: /no/such/file}}"
    port = free_port()
    config = tmp_path / "config.yml"
    config.write_text(
        "version: 0.1\nstorage: inmemory\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: x, workers: 2}}\n"
        f"auth: {auth}\n"
    )
    gateway = Process(
        [MOORAGE, "serve", "gateway", "-c", config], log=tmp_path / "log", env=clean_environment()
    )
    try:
        wait_until(lambda: not gateway.running() or accepts_connections(port), timeout=120, what="it ends")
        assert not gateway.running(), gateway.tail()
        assert gateway.stop() == 2
        (line,) = [each for each in gateway.tail().splitlines() if each.startswith("moorage: ")]
        assert "auth.token.jwks: /no/such/file: " in line
    finally:
        gateway.kill()
