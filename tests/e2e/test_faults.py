"""kill -9 of any service at any moment of a push: what was acknowledged is there, and nothing is torn."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import httpx
import pytest

from support.client import V2Client
from support.images import Image, digest_of, make_image
from support.processes import wait_until
from support.registry import Stack

# `make soak` sets 200.
KILLS = int(os.environ.get("MOORAGE_KILLS", "12"))
VICTIMS = ("gateway", "metadata", "blob", "notifier")
REPOSITORY = "team/app"


class Pusher:
    """Pushes one image step by step, and remembers each step that was acknowledged."""

    def __init__(self, url: str, image: Image, tag: str) -> None:
        self.image = image
        self.tag = tag
        self.blobs_acknowledged: list[str] = []
        self.manifest_acknowledged = False
        self._client = V2Client(url, timeout=20)

    def push(self) -> bool:
        """Push once; False when a service was not there."""
        try:
            for blob in self.image.blobs:
                if not self._client.has_blob(REPOSITORY, blob.digest):
                    self._client.push_blob(REPOSITORY, blob.content)
                self.blobs_acknowledged.append(blob.digest)
            answer = self._client.put_manifest(REPOSITORY, self.tag, self.image.manifest)
            self.manifest_acknowledged = answer.status_code == 201
        except (httpx.HTTPError, AssertionError):
            return False
        return self.manifest_acknowledged

    def close(self) -> None:
        self._client.close()


def answers(client: V2Client, paths: Iterable[str]) -> bool:
    """Whether no service that these pulls need is away, for the gateway's process that this client has."""
    return all(client.http.get(f"/v2/{REPOSITORY}/{path}").status_code != 503 for path in paths)


def assert_no_torn_content(root: Path) -> None:
    """Every blob in the tree matches its digest, and every link holds a digest."""
    tree = root / "docker/registry/v2"
    for data in tree.glob("blobs/sha256/*/*/data"):
        assert hashlib.sha256(data.read_bytes()).hexdigest() == data.parent.name, f"{data} is torn"
    for link in tree.glob("repositories/**/link"):
        algorithm, _, name = link.read_text().partition(":")
        assert (algorithm, len(name)) in (("sha256", 64), ("sha512", 128)), f"{link} is torn"


@pytest.mark.timeout(1800)
def test_what_was_acknowledged_survives_kill_9_at_random_moments_of_a_push(stack: Stack) -> None:
    seed = int(os.environ.get("MOORAGE_SEED", "60"))
    rng = random.Random(seed)
    # How long a push takes undisturbed, so that the kills fall between its first step and its last.
    pusher = Pusher(stack.url, make_image(seed * 10_000, (3000, 400_000)), "warm-up")
    started = time.monotonic()
    assert pusher.push()
    duration = time.monotonic() - started
    pusher.close()

    interrupted = 0
    for number in range(KILLS):
        image = make_image(seed * 10_000 + number + 1, (3000, 400_000))
        pusher = Pusher(stack.url, image, f"tag-{number % 5}")
        victim = rng.choice(VICTIMS)
        succeeded: list[bool] = []
        pushing = threading.Thread(target=lambda: succeeded.append(pusher.push()))  # noqa: B023
        pushing.start()
        time.sleep(rng.uniform(0, duration * 1.2))
        stack.kill(victim)
        pushing.join()
        interrupted += not succeeded[0]
        acknowledged = list(pusher.blobs_acknowledged), pusher.manifest_acknowledged
        stack.start(victim)
        stack.wait_ready()

        with V2Client(stack.url) as client:
            # Each process finds by itself that a service is back, up to two seconds later.
            paths = ["manifests/none", *(f"blobs/{digest}" for digest in acknowledged[0])]
            wait_until(partial(answers, client, paths), timeout=30, what=f"{victim} is found again")
            for digest in acknowledged[0]:
                assert digest_of(client.get_blob(REPOSITORY, digest)) == digest
            if acknowledged[1]:
                client.assert_holds(REPOSITORY, pusher.tag, image)
            # whatever the tag names, it is whole
            answer = client.get_manifest(REPOSITORY, pusher.tag)
            if answer.status_code == 200:
                assert digest_of(answer.content) == answer.headers["docker-content-digest"]
            wait_until(pusher.push, timeout=60, what="the push succeeds when it is repeated")
            client.assert_holds(REPOSITORY, pusher.tag, image)
        pusher.close()
    assert_no_torn_content(stack.root)
    if KILLS >= 20:
        assert interrupted, "no kill fell into a push: the test proves nothing"
