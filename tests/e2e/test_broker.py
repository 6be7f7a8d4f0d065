"""The brokers that Moorage comes with keep what they acknowledge."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from moorage.supervisor.broker import EmbeddedBroker, find_nats_server
from support.processes import Process, free_port, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"


@contextmanager
def jetstream_of(command: list[str | Path], folder: Path) -> Iterator[dict[str, Any]]:
    """JetStream's settings in a nats-server, as it tells them itself."""
    port = free_port()
    env = {**os.environ, "POD_NAME": "nats-0", "NATS_PASSWORD": "secret"}
    process = Process([*command, "-m", str(port)], log=folder / "nats.log", env=env)

    def settings() -> dict[str, Any]:
        assert process.running(), process.tail()
        try:
            return dict(httpx.get(f"http://127.0.0.1:{port}/varz").json()["jetstream"]["config"])
        except (httpx.HTTPError, KeyError):
            return {}

    try:
        yield wait_until(settings, timeout=20, what="nats-server tells its settings")
    finally:
        process.kill()


@pytest.mark.parametrize(
    "path", sorted(path.relative_to(DEPLOY) for path in DEPLOY.rglob("nats*.conf")), ids=str
)
def test_a_deployments_broker_syncs_before_it_acknowledges(path: Path, tmp_path: Path) -> None:
    # The cluster's includes the base's.
    for each in (DEPLOY / "kubernetes/base/nats-server.conf", DEPLOY / path):
        text = each.read_text().replace("/data", str(tmp_path / "data"))
        # Nobody's monitoring port, and a cluster's own.
        text = re.sub(r"^http(_port)?:.*\n", "", text, flags=re.MULTILINE)
        text = text.replace("port: 6222", f"listen: 127.0.0.1:{free_port()}")
        (tmp_path / each.name).write_text(text)
    program = Path(sys.executable).with_name("nats-server")
    command = [program, "-c", tmp_path / path.name, "-a", "127.0.0.1", "-p", str(free_port())]
    with jetstream_of(command, tmp_path) as settings:
        assert settings["sync_always"] is True


def test_the_broker_of_moorage_up_syncs_before_it_acknowledges(tmp_path: Path) -> None:
    broker = EmbeddedBroker(find_nats_server(), tmp_path / "data", tmp_path)
    with jetstream_of([*broker.command(os.getpid())], tmp_path) as settings:
        assert settings["sync_always"] is True
        assert settings["store_dir"].startswith(str(tmp_path / "data"))


def test_the_broker_of_moorage_up_may_be_told_to_sync_later(tmp_path: Path) -> None:
    broker = EmbeddedBroker(find_nats_server(), tmp_path / "data", tmp_path, sync_interval=0.01)
    with jetstream_of([*broker.command(os.getpid())], tmp_path) as settings:
        assert not settings.get("sync_always")
        assert settings["sync_interval"] == 10_000_000
