"""Several instances of the blob service."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api_gateway.clients.instances import BlobInstances
from moorage.config.services import Services


@pytest.fixture
def addresses() -> Iterator[list[str]]:
    """Where somebody listens who never says a word, so that no instance is known to be down."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()


@pytest.fixture
async def instances(addresses: list[str]) -> AsyncIterator[BlobInstances]:
    found = BlobInstances(addresses, Services())
    yield found
    await found.close()


async def test_a_key_comes_to_the_same_instance_each_time_and_keys_to_all(instances: BlobInstances) -> None:
    keys = [str(uuid.uuid4()) for _ in range(300)]
    chosen = [instances.chosen(key).address for key in keys]
    assert chosen == [instances.chosen(key).address for key in keys]
    shares = {address: chosen.count(address) for address in set(chosen)}
    assert len(shares) == 3
    assert min(shares.values()) > 50


async def test_with_one_instance_fewer_only_its_keys_move(
    instances: BlobInstances, addresses: list[str]
) -> None:
    fewer = BlobInstances(addresses[:2], Services())
    keys = [str(uuid.uuid4()) for _ in range(100)]
    moved = [key for key in keys if instances.chosen(key).address != fewer.chosen(key).address]
    assert moved
    assert all(instances.chosen(key).address == addresses[2] for key in moved)
    await fewer.close()


async def test_nobody_serves_where_nobody_answers(instances: BlobInstances) -> None:
    assert not await instances.serving(0.3)


def test_an_upload_goes_on_with_another_instance_when_its_own_is_away(
    start_registry, short_folder: Path, repository: str
) -> None:
    addresses = [f"unix://{short_folder}/{number}.sock" for number in range(2)]
    registry = start_registry(services={"blob": {"addr": addresses}})
    uploads = [registry.start_upload(repository).headers["location"] for _ in range(8)]
    uploads = [registry.client.patch(each, content=b"first ").headers["location"] for each in uploads]
    with registry.without(registry.blobs[0]):
        for each in uploads:
            eventually_goes_on(registry, each)


def eventually_goes_on(registry, location: str) -> None:
    """The gateway sees that the connection is gone with the first call that fails."""
    for _ in range(50):
        answer = registry.client.patch(location, content=b"second")
        if answer.status_code != 503:
            break
        time.sleep(0.02)
    assert (answer.status_code, answer.headers["range"]) == (202, "0-11")
