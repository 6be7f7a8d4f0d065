"""Acknowledged changes are in the event stream, in order, through restarts of broker and gateway."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.client import V2Client, expect
from support.commands import Command
from support.images import make_image
from support.nats import StoredEvent, events_at
from support.processes import wait_until
from support.registry import Stack, clean_environment, running_stack


@pytest.fixture
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Four services whose gateway publishes events."""
    folder = tmp_path_factory.mktemp("events")
    env = {
        "REGISTRY_NOTIFICATIONS_EVENTS_PUBLISH": "true",
        "REGISTRY_NOTIFICATIONS_OUTBOX_PATH": str(folder / "outbox"),
    }
    with running_stack(folder, env=env) as stack:
        yield stack
        stack.processes["nats"].signal(signal.SIGCONT)


def outbox_is_empty(stack: Stack) -> bool:
    return (stack.folder / "outbox/state").read_bytes()[:8] == bytes(8)


def pushes(stack: Stack) -> dict[str, list[StoredEvent]]:
    """The events of pushed manifests of each repository, in the order of the stream, when all are there."""
    wait_until(lambda: outbox_is_empty(stack), timeout=120, what="the outbox is empty")
    found: dict[str, list[StoredEvent]] = defaultdict(list)
    for event in events_at(stack.nats_url):
        if "tag" in event.target and event.action == "push":
            found[event.repository].append(event)
    return found


def test_a_gateway_that_was_killed_with_events_in_its_outbox_publishes_them(publishing: Stack) -> None:
    stack = publishing
    stack.kill("nats")
    with V2Client(stack.url) as client:
        client.push_image("team/app", "v1", image := make_image(41, (2000,)))
        expect(client.put_manifest("team/app", "v2", image.manifest), 201)
    assert not outbox_is_empty(stack)
    stack.kill("gateway")
    stack.start("gateway")
    stack.wait_ready(without="nats")
    stack.start("nats")
    assert [event.target["tag"] for event in pushes(stack)["team/app"]] == ["v1", "v2"]


def test_events_of_all_workers_follow_in_the_order_in_which_they_were_acknowledged(publishing: Stack) -> None:
    stack = publishing
    with V2Client(stack.url) as client:
        client.push_image("team/app", "v0", image := make_image(42, (2000,)))
    # A connection for each push: any worker may accept it.
    for number in range(1, 60):
        if number == 20:
            stack.kill("nats")
        if number == 40:
            stack.start("nats")
        with V2Client(stack.url) as client:
            expect(client.put_manifest("team/app", f"v{number}", image.manifest), 201)
    assert [event.target["tag"] for event in pushes(stack)["team/app"]] == [
        f"v{number}" for number in range(60)
    ]


@pytest.mark.parametrize("path", ["/proc/outbox", "/dev/null"])
def test_a_gateway_that_can_have_no_outbox_does_not_start(tmp_path: Path, path: str) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0', secret: of this test}\n"
        f"notifications: {{events: {{publish: true}}, outbox: {{path: {path}}}}}\n"
    )
    gateway = Command(["serve", "gateway", "-c", config], clean_environment())
    try:
        assert gateway.wait() == 2
        assert "notifications.outbox.path: cannot be used" in gateway.err
    finally:
        gateway.kill()
