"""An exception that nobody expected, in a gateway that runs: answered, logged, mailed, survived."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.processes import accepts_connections, free_port, wait_until
from support.smtp import Mailbox, smtp_server

# The gateway as it is, but that one of its endpoints is broken.
PROGRAM = """
import sys
import api_gateway.app

async def broken(request):
    raise ZeroDivisionError("of a test")

api_gateway.app.get_base = broken
from moorage.cli import main
sys.argv = ["moorage", "serve", "gateway", "-c", sys.argv[1]]
main()
"""


class Broken:
    """A gateway whose `/v2/` raises."""

    def __init__(self, folder: Path, smtp_port: int) -> None:
        self.port = free_port()
        self._log = folder / "gateway.log"
        options = {
            "smtp": {"addr": f"127.0.0.1:{smtp_port}"},
            "from": "registry@example.org",
            "to": ["ops@example.org"],
        }
        document = {
            "version": 0.1,
            "storage": "inmemory",
            "log": {
                "formatter": "json",
                "fields": {"site": "north"},
                "hooks": [{"type": "mail", "levels": ["panic"], "options": options}],
            },
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "known", "workers": 1, "draintimeout": "1s"},
            "services": {
                name: {"addr": f"unix://{folder}/{name}.sock"} for name in ("blob", "metadata", "notifier")
            },
        }
        config = folder / "config.yml"
        config.write_text(yaml.safe_dump(document))
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("MOORAGE_", "REGISTRY_"))
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, config], stdout=log, stderr=log, env=environment
            )

    @property
    def panics(self) -> list[dict[str, Any]]:
        """The lines of level panic so far."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["level"] == "panic"]

    @property
    def said(self) -> str:
        return self._log.read_text()

    def ask(self) -> httpx.Response:
        headers = {"X-Request-Id": "id-of-the-client", "User-Agent": "evil\x20agent"}
        return httpx.get(f"http://127.0.0.1:{self.port}/v2/?a=1", headers=headers, timeout=20)


@contextmanager
def broken_gateway(folder: Path, smtp_port: int) -> Iterator[Broken]:
    gateway = Broken(folder, smtp_port)
    try:
        wait_until(
            lambda: gateway.process.poll() is not None or accepts_connections(gateway.port),
            timeout=60,
            what="the gateway listens",
        )
        assert gateway.process.poll() is None, gateway.said
        yield gateway
    finally:
        gateway.process.terminate()
        try:
            gateway.process.wait(20)
        except subprocess.TimeoutExpired:
            gateway.process.kill()
            gateway.process.wait()


def is_unknown(answer: httpx.Response) -> bool:
    """Whether it is distribution's answer, with nothing of what broke in it."""
    (error,) = answer.json()["errors"]
    return answer.status_code == 500 and error["code"] == "UNKNOWN" and "ZeroDivision" not in answer.text


def test_a_panic_is_answered_logged_and_mailed_and_the_gateway_goes_on(tmp_path: Path) -> None:
    port = free_port()
    box: Mailbox
    with smtp_server(port) as box, broken_gateway(tmp_path, port) as gateway:
        assert is_unknown(gateway.ask())
        message = box.next()
        assert is_unknown(gateway.ask())
        (panic, _) = wait_until(lambda: len(gateway.panics) == 2 and gateway.panics, timeout=20, what="lines")
    assert panic["msg"] == "unexpected error in a request"
    assert (panic["http.request.id"], panic["http.request.uri"]) == ("id-of-the-client", "/v2/?a=1")
    assert (panic["component"], panic["site"]) == ("gateway", "north")
    assert "ZeroDivisionError: of a test" in panic["exception"]
    assert message["Subject"].startswith("[panic] ")
    body = message.get_content()
    for part in (
        "http.request.id: id-of-the-client",
        "http.request.method: GET",
        f"instance.id: {panic['instance.id']}",
        "site: north",
        "ZeroDivisionError: of a test",
    ):
        assert part in body


def test_a_mail_server_that_is_away_holds_up_no_answer(tmp_path: Path) -> None:
    with broken_gateway(tmp_path, free_port()) as gateway:
        gateway.ask()
        started = time.monotonic()
        assert is_unknown(gateway.ask())
        assert time.monotonic() - started < 5
        wait_until(lambda: "could not be mailed" in gateway.said, timeout=20, what="it is said")
