"""The verbs that this service brings to the `moorage` command, as an operator runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MOORAGE = Path(sys.executable).with_name("moorage")


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder of a repository's uploads in a storage tree: one old upload, and one of now."""
    folder = tmp_path / "registry/docker/registry/v2/repositories/team/app/_uploads"
    for name in ("old", "new"):
        (folder / name).mkdir(parents=True)
        (folder / name / "startedat").write_text("2020-01-02T03:04:05Z")
        (folder / name / "data").write_bytes(b"bytes")
    for path in (folder / "old").iterdir():
        os.utime(path, (1_577_934_245, 1_577_934_245))
    return folder


@pytest.fixture
def purge(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    config = tmp_path / "config.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n")

    def run(*arguments: str, storage: str = "") -> subprocess.CompletedProcess[str]:
        if storage:
            config.write_text(f"version: 0.1\nstorage: {storage}\n")
        command = [MOORAGE, "uploads", "purge", "-c", config, *arguments]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)

    return run


def test_purge_removes_what_is_old_and_says_so(uploads: Path, purge) -> None:
    done = purge()
    assert (done.returncode, done.stdout) == (0, "2 uploads found, 1 purged, 0 in use, 0 failed\n"), (
        done.stderr
    )
    assert "an upload was purged" in done.stderr
    assert os.listdir(uploads) == ["new"]


def test_a_dry_run_removes_nothing(uploads: Path, purge) -> None:
    done = purge("--dry-run")
    assert (done.returncode, done.stdout) == (
        0,
        "2 uploads found, 1 would be purged, 0 in use, 0 failed\n",
    ), done.stderr
    assert sorted(os.listdir(uploads)) == ["new", "old"]


def test_the_age_can_be_named(uploads: Path, purge) -> None:
    assert purge("--age", "0s").stdout == "2 uploads found, 2 purged, 0 in use, 0 failed\n"
    assert os.listdir(uploads) == []


@pytest.mark.parametrize(
    ("age", "problem"), [("soon", "not a duration: 'soon'"), ("-1h", "must not be negative")]
)
def test_a_wrong_age_is_a_wrong_command_line(uploads: Path, purge, age: str, problem: str) -> None:
    done = purge("--age", age)
    assert done.returncode == 2
    assert problem in " ".join(done.stderr.split())
    assert sorted(os.listdir(uploads)) == ["new", "old"]


def test_storage_in_another_process_s_memory_is_out_of_reach(purge) -> None:
    done = purge(storage="inmemory")
    assert done.returncode == 2
    assert done.stderr == "moorage: storage.inmemory: only the blob service itself can reach its memory\n"


def test_storage_that_cannot_be_opened_is_one_line(purge, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = purge(storage=f"{{filesystem: {{rootdirectory: {tmp_path}/file}}}}")
    assert done.returncode == 2
    assert "storage.filesystem.rootdirectory" in done.stderr
    assert done.stderr.count("\n") == 1
