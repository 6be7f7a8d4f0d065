"""A configuration full of secrets: none of them is anywhere that somebody without rights looks."""

from __future__ import annotations

import base64
import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest
import yaml

from moorage.config import ConfigurationError, parse
from support.accounts import write_accounts
from support.client import V2Client, expect
from support.images import make_image
from support.processes import free_port, wait_until
from support.registry import MOORAGE, Up, running_up


class Planted:
    """Secrets that no text holds by chance, by what they are."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """A new secret."""
        return self.by_name.setdefault(name, secrets.token_hex(16))

    def found_in(self, text: str) -> set[str]:
        """Which secrets a text holds, as they are, in Base64 at any offset, or escaped for a URL."""
        return {name for name, secret in self.by_name.items() if any(form in text for form in forms(secret))}


def forms(secret: str) -> list[str]:
    encoded = []
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + secret.encode()).decode()
        # Without the characters that depend on what stands beside it.
        encoded.append(whole[4 if offset else 0 :].rstrip("=")[:-2])
    return [secret, quote(secret, safe=""), *encoded]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


class _Echo(BaseHTTPRequestHandler):
    """A subscriber that fails, and says what it was sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = f"{self.path} {self.headers}".encode()
        self.send_response(500, body.decode("latin-1").splitlines()[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The URL of the subscriber."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()
        thread.join()


def document(planted: Planted, folder: Path, webhook: str) -> dict[str, Any]:
    """A registry that could run: it has accounts, tokens, webhooks, Redis, mails."""
    write_accounts(folder / "htpasswd", {"ada": planted("a user's password")})
    key = base64.b64encode(planted("the key of a webhook").encode()).decode()
    return {
        "version": 0.1,
        "log": {
            "level": "debug",
            "hooks": [
                {
                    "type": "mail",
                    "levels": ["panic"],
                    "options": {
                        "smtp": {
                            "addr": f"127.0.0.1:{free_port()}",
                            "username": "moorage",
                            "password": planted("the password for mails"),
                        },
                        "from": "registry@example.org",
                        "to": ["ada@example.org"],
                    },
                }
            ],
        },
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "registry")},
            "cache": {"blobdescriptor": "redis"},
        },
        "redis": {
            # Nobody is there, which is told again and again.
            "addrs": [f"127.0.0.1:{free_port()}"],
            "username": "moorage",
            "password": planted("the password for Redis"),
        },
        "http": {
            "workers": 1,
            "secret": planted("the secret of uploads"),
            "debug": {"addr": f"127.0.0.1:{free_port()}", "prometheus": {"enabled": True}},
        },
        "auth": {
            "token": {
                "server": {
                    "htpasswd": str(folder / "htpasswd"),
                    "key": str(folder / "token.pem"),
                    "rules": [
                        {"subjects": ["user:ada"], "repositories": ["team/app"], "actions": ["pull", "push"]}
                    ],
                },
            }
        },
        "notifications": {
            "allowprivate": True,
            "endpoints": [
                {
                    "name": "echoes",
                    "url": webhook,
                    "headers": {"Authorization": [f"Bearer {planted('the token of a webhook')}"]},
                    "secrets": [f"whsec_{key}"],
                },
                {
                    "name": "absent",
                    "url": f"http://127.0.0.1:{free_port()}/?key={planted('the key in a URL')}",
                    "headers": {"X-Key": [planted("the header of a webhook")]},
                },
            ],
        },
        "services": {
            name: {"debugaddr": f"127.0.0.1:{free_port()}"} for name in ("blob", "metadata", "notifier")
        },
    }


class Running:
    """A registry, the file of its configuration, and what clients were told that went wrong."""

    def __init__(self, up: Up, file: Path, config: dict[str, Any]) -> None:
        self.up = up
        self.file = file
        self.config = config
        self.refusals: list[httpx.Response] = []

    def refused(self, method: str, path: str, **options: Any) -> None:
        """Ask for what is answered with an error."""
        answer = httpx.request(method, f"{self.up.url}{path}", timeout=30, **options)
        assert answer.status_code >= 400, answer.text
        self.refusals.append(answer)

    @property
    def debug_urls(self) -> list[str]:
        """The debug server of the gateway, and those of the services."""
        addresses = [self.config["http"]["debug"]["addr"]]
        addresses += [service["debugaddr"] for service in self.config["services"].values()]
        return [f"http://{address}" for address in addresses]


def use(running: Running, planted: Planted) -> None:
    """Log in, push, and do what goes wrong."""
    url, password = running.up.url, planted("a user's password")
    asked = {"scope": "repository:team/app:pull,push", "offline_token": "true", "service": "moorage"}
    wrong = planted("a wrong password")
    for user in ("ada", "nobody"):
        running.refused("GET", "/token", params=asked, auth=(user, wrong))
        running.refused("GET", "/v2/", auth=(user, wrong))
    issued = httpx.get(f"{url}/token", params=asked, auth=("ada", password), timeout=30).json()
    planted.by_name |= {"a token": issued["token"], "a refresh token": issued["refresh_token"]}
    bearer = {"Authorization": f"Bearer {issued['token']}"}

    with V2Client(url) as client:
        client.http.headers.update(bearer)
        client.push_image("team/app", "one", make_image(95))
        location = client.location(expect(client.start_upload("team/app"), 202))
        planted.by_name["the state of an upload"] = httpx.URL(location).params["_state"]
        path = httpx.URL(location).raw_path.decode()

    running.refused("PATCH", path.replace("_state=", "_state=x"), headers=bearer, content=b"x")
    running.refused("PUT", f"{path}&digest=sha256:{'0' * 64}", headers=bearer, content=b"x")
    running.refused("PUT", "/v2/team/app/manifests/two", headers=bearer, content=b"{}")
    running.refused("GET", "/v2/team/other/tags/list", headers=bearer)
    running.refused("GET", "/v2/team/app/tags/list", headers={"Authorization": f"Bearer x{issued['token']}"})
    form = {"grant_type": "refresh_token", "refresh_token": f"x{issued['refresh_token']}", "service": "x"}
    running.refused("POST", "/token", data=form)
    running.refused("POST", "/token", data={"grant_type": "password", "username": "ada", "password": wrong})


@pytest.fixture(scope="module")
def running(planted: Planted, echo: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("secrets")
    config = document(planted, folder, echo)
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump(config))
    with running_up(folder / "up", {"REGISTRY_CONFIGURATION_PATH": str(file)}, storage={}) as up:
        found = Running(up, file, config)
        use(found, planted)
        yield found


def test_errors_hold_none(running: Running, planted: Planted) -> None:
    for answer in running.refusals:
        assert not planted.found_in(f"{answer.headers} {answer.text}"), answer.request.url


def test_logs_hold_none(running: Running, planted: Planted) -> None:
    log = running.up.process.log
    for said in ("echoes", "absent", "redis"):
        wait_until(lambda said=said: said in log.read_text().lower(), timeout=30, what=f"{said} is logged")
    text = log.read_text()
    assert "PATCH /v2/team/app/blobs/uploads/" in text
    held = {name: line for line in text.splitlines() for name in planted.found_in(line)}
    assert not held


@pytest.mark.parametrize("path", ["/debug/vars", "/debug/health", "/debug/pprof/cmdline", "/metrics"])
def test_debug_servers_hold_none(running: Running, planted: Planted, path: str) -> None:
    for url in running.debug_urls:
        answer = httpx.get(f"{url}{path}", timeout=30)
        assert answer.status_code in (200, 503, 404), answer.text
        assert not planted.found_in(answer.text), url


def test_command_lines_and_process_titles_hold_none(running: Running, planted: Planted) -> None:
    processes = running.up.process.tree()
    assert len(processes) >= 6, "four services, their broker, the supervisor"
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            assert not planted.found_in("\0".join([process.name(), *process.cmdline()]))


def test_config_check_shows_none(running: Running, planted: Planted) -> None:
    command = [MOORAGE, "config", "check", "-c", running.file]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "***" in shown.stdout
    assert not planted.found_in(shown.stdout + shown.stderr)


MISTAKES = {
    "a section in its place": "http: {secret: {a: SECRET}}",
    "a list in its place": "redis: {addrs: [localhost], password: [SECRET]}",
    "it is no name of a key": "http: {SECRET: x}",
    "it is no YAML": "http: {secret: 'SECRET}",
    "it is a tag": "http: {secret: !SECRET x}",
    "it is in a URL": "notifications: {endpoints: [{name: a, url: 'https://ada:SECRET@example.org/'}]}",
    "it signs nothing": "notifications: {endpoints: [{name: a, url: 'https://e.org', secrets: [SECRET]}]}",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_in_the_configuration_holds_none(planted: Planted, mistake: str) -> None:
    secret = planted("the secret in the wrong place")
    text = f"version: 0.1\nstorage: inmemory\n{MISTAKES[mistake].replace('SECRET', secret)}\n"
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    # A key that nobody knows is named: whoever mistyped it has to see it.
    expected = {"the secret in the wrong place"} if mistake == "it is no name of a key" else set()
    assert planted.found_in(str(caught.value)) == expected
