"""A disk that is full: what does not fit is refused, what is there stays, and later there is room again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.client import V2Client, error_codes, expect
from support.images import make_image
from support.processes import run
from support.registry import running_up

DISK_BYTES = 8 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    assert os.geteuid() == 0, "mounting a small disk needs root: run the tests as root"
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk)
    yield disk
    run("umount", disk)


def test_a_full_disk_refuses_what_does_not_fit_and_keeps_what_is_there(
    tmp_path: Path, small_disk: Path
) -> None:
    kept, later = make_image(90), make_image(91)
    too_much = random.Random(92).randbytes(3 * DISK_BYTES)
    root = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(small_disk / "registry")}
    with running_up(tmp_path / "up", root) as up, V2Client(up.url) as client:
        client.push_image("team/app", "kept", kept)
        # Several times: the refusal comes while the client is still sending.
        for _ in range(5):
            answer = expect(client.start_upload("team/app"), 202)
            refused = expect(client.http.patch(client.location(answer), content=too_much), 503)
            assert error_codes(refused) == ["UNAVAILABLE"]
            assert refused.json()["errors"][0]["detail"] == "the storage is full"
            client.assert_holds("team/app", "kept", kept)
            status = expect(client.http.get(client.location(answer)), 204)
            expect(client.http.delete(client.location(status)), 204)
        client.push_image("team/app", "later", later)
        client.assert_holds("team/app", "later", later)
