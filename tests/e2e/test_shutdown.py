"""Stopping: what is under way ends well, and nothing is left running."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from support.client import V2Client, expect
from support.processes import wait_until
from support.registry import SEVERAL_WORKERS, running_up

PIECE = bytes(65_536)


def slowly(pieces: int, begun: threading.Event) -> Iterator[bytes]:
    for number in range(pieces):
        yield PIECE
        if number == 2:
            begun.set()
        time.sleep(0.05)


def test_an_upload_under_way_ends_well_when_moorage_is_told_to_stop(tmp_path: Path) -> None:
    begun = threading.Event()
    answers: list[httpx.Response] = []

    def upload(url: str) -> None:
        with V2Client(url) as client:
            answer = expect(client.start_upload("team/app"), 202)
            answers.append(client.http.patch(client.location(answer), content=slowly(40, begun)))

    with running_up(tmp_path, SEVERAL_WORKERS) as up:
        uploading = threading.Thread(target=upload, args=[up.url])
        uploading.start()
        assert begun.wait(20)
        up.process.signal(signal.SIGINT)
        uploading.join()
        assert up.process.stop() == 0
    assert expect(answers[0], 202).headers["range"] == f"0-{40 * len(PIECE) - 1}"


def test_nothing_is_left_running_or_lying_about_after_a_stop(tmp_path: Path) -> None:
    with running_up(tmp_path, SEVERAL_WORKERS) as up:
        processes = up.process.tree()
        runtime = Path(up.env["XDG_RUNTIME_DIR"])
        assert list(runtime.iterdir())
        assert up.process.stop() == 0
        assert [process for process in processes if process.is_running()] == []
        assert list(runtime.iterdir()) == []


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    with running_up(tmp_path, SEVERAL_WORKERS) as up:
        processes = up.process.tree()
        up.process.kill()
        wait_until(
            lambda: not any(process.is_running() for process in processes),
            timeout=30,
            what="the services end with the process that started them",
        )


def test_a_killed_service_is_started_again_and_content_is_still_there(tmp_path: Path) -> None:
    with running_up(tmp_path, SEVERAL_WORKERS) as up, V2Client(up.url) as client:
        digest = client.push_blob("team/app", b"kept")
        for name in ("blob", "metadata", "notifier", "gateway"):
            victim = up.service(name)
            victim.kill()
            victim.wait(10)

            def serves() -> bool:
                try:
                    return client.http.get(f"/v2/team/app/blobs/{digest}").content == b"kept"
                except httpx.HTTPError:
                    return False

            wait_until(serves, timeout=30, what=f"content is served after {name} was killed")
