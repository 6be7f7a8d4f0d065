"""The manifests of deploy/kubernetes run: as processes with their commands, environment, volumes, users and network."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import httpx
import pytest

from support.client import V2Client, expect
from support.images import make_image
from support.manifests import KUBERNETES, OVERLAYS, SERVICES, name_of, render
from support.pods import Cluster, Pod, running_cluster
from support.processes import wait_until

ACCOUNT = ("ada", "correct horse")


def secrets_of_an_operator() -> dict[str, dict[str, bytes]]:
    """The Secrets that docs/kubernetes.md has an operator make."""
    accounts = bcrypt.hashpw(ACCOUNT[1].encode(), bcrypt.gensalt(4)).decode()
    return {
        "moorage": {
            "http-secret": secrets.token_hex(24).encode(),
            "nats-password": b"n" + secrets.token_hex(12).encode(),
            "redis-password": b"r" + secrets.token_hex(12).encode(),
        },
        "moorage-accounts": {"htpasswd": f"{ACCOUNT[0]}:{accounts}\n".encode()},
    }


def client_of(cluster: Cluster, pod: Pod) -> V2Client:
    """A client elsewhere in the cluster, logged in, of one gateway."""
    client = V2Client(f"http://{pod.address}:5000")
    client.http.close()
    client.http = httpx.Client(
        base_url=client.url,
        auth=ACCOUNT,
        timeout=60,
        transport=httpx.HTTPTransport(local_address=cluster.client),
    )
    return client


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    manifests = render(KUBERNETES / "overlays/minimal")
    with running_cluster(tmp_path_factory.mktemp("cluster"), manifests, secrets_of_an_operator()) as cluster:
        yield cluster


def test_what_was_pushed_is_pulled(minimal: Cluster, repository: str) -> None:
    image = make_image(7, (300_000, 2_000))
    with client_of(minimal, minimal.of("api-gateway")[0]) as client:
        client.push_image(repository, "v1", image)
        client.assert_holds(repository, "v1", image)
