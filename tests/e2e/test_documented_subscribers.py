"""The subscribers in docs/notifications.md do what the page says, as they stand there."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import nats
import pytest

from moorage.config.events import Stream
from moorage.events import Event, Target, envelope
from moorage.events.stream import ensure_stream
from moorage.events.subjects import message_headers, subject
from notifier.signatures import signed_headers
from support.nats import NatsServer, running_nats
from support.processes import Process, accepts_connections, free_port, wait_until

PAGE = Path(__file__).parents[2] / "docs/notifications.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@contextmanager
def running(marker: str, folder: Path, env: Mapping[str, str]) -> Iterator[Process]:
    """The program of the page that holds these words."""
    (program,) = (each for each in PROGRAMS if marker in each)
    (folder / "subscriber.py").write_text(program)
    log = folder / "subscriber.log"
    process = Process([sys.executable, folder / "subscriber.py"], log=log, env={**os.environ, **env})
    try:
        yield process
    finally:
        process.kill()


def event(number: int, repository: str = "team/app") -> Event:
    return Event(id=f"id-{number}", timestamp=number, action="push", target=Target(repository, tag="v1"))


@pytest.fixture
def keys() -> list[bytes]:
    """The old key and the new one."""
    return [secrets.token_bytes(32), secrets.token_bytes(32)]


@pytest.fixture
def hook(tmp_path: Path, keys: list[bytes]) -> Iterator[tuple[str, Process]]:
    """The documented webhook's subscriber, which knows both keys."""
    port = free_port()
    known = " ".join("whsec_" + base64.b64encode(key).decode() for key in keys)
    with running(
        "BaseHTTPRequestHandler", tmp_path, {"PORT": str(port), "WEBHOOK_SECRETS": known}
    ) as process:
        wait_until(lambda: accepts_connections(port), timeout=20, what="the subscriber listens")
        yield f"http://127.0.0.1:{port}/", process


@pytest.mark.parametrize("signed_by", [[0], [1], [0, 1]], ids=["the old key", "the new key", "both"])
def test_a_signed_request_is_taken(
    hook: tuple[str, Process], keys: list[bytes], signed_by: list[int]
) -> None:
    url, process = hook
    body = envelope([event(1), event(2)])
    headers = signed_headers([keys[number] for number in signed_by], "id-1", int(time.time()), body)
    assert httpx.post(url, content=body, headers=headers).status_code == 200
    assert process.tail().splitlines()[:2] == ["id-1 push team/app", "id-2 push team/app"]


def test_a_request_that_was_forged_changed_or_kept_is_refused(
    hook: tuple[str, Process], keys: list[bytes]
) -> None:
    url, process = hook
    body, now = envelope([event(1)]), int(time.time())
    genuine = signed_headers(keys, "id-1", now, body)
    refused = [
        (body, signed_headers([secrets.token_bytes(32)], "id-1", now, body)),
        (body, signed_headers([], "id-1", now, body)),
        (body, signed_headers(keys, "id-1", now - 3600, body)),
        (body, {**genuine, "webhook-id": "id-2"}),
        (body, {**genuine, "webhook-timestamp": str(now + 1)}),
        (body, {**genuine, "webhook-timestamp": "now"}),
        (body.replace(b"team/app", b"team/bad"), genuine),
        (body, {}),
    ]
    for content, headers in refused:
        assert httpx.post(url, content=content, headers=headers).status_code == 401, headers
    assert "id-1 push" not in process.tail()
    assert httpx.post(url, content=body, headers=genuine).status_code == 200


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path / "nats") as server:
        yield server


def test_a_subscriber_on_nats_is_given_its_teams_pushes_also_those_it_was_away_for(
    broker: NatsServer, tmp_path: Path
) -> None:
    async def publish(*events: Event) -> None:
        client = await nats.connect(broker.url)
        jetstream = client.jetstream()
        await ensure_stream(jetstream, Stream())
        for each in events:
            about = subject(each.action, each.target.repository)
            await jetstream.publish(about, each.encode(), headers=message_headers(each.id))
        await client.close()

    def says(process: Process, *lines: str) -> None:
        wait_until(lambda: process.tail().splitlines() == [*lines], timeout=20, what=f"it says {lines}")

    asyncio.run(publish(event(1), event(2, "other/app"), event(3, "team/app.v2")))
    env = {"NATS_URL": broker.url}
    said = ["id-1 push team/app", "id-3 push team/app.v2"]
    with running("pull_subscribe", tmp_path, env) as process:
        says(process, *said)
    asyncio.run(publish(event(4)))
    with running("pull_subscribe", tmp_path, env) as process:
        says(process, *said, "id-4 push team/app")
