"""`moorage storage check`, as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

MOORAGE = Path(sys.executable).with_name("moorage")
LEFTOVER = f"link.{uuid.UUID(int=7)}.tmp"


def check(config: str, folder: Path, *options: str) -> tuple[int, list[str], str]:
    """Status, lines of standard output, and standard error."""
    path = folder / "config.yml"
    path.write_text(f"version: 0.1\nstorage: {config}\n")
    result = subprocess.run(
        [MOORAGE, "storage", "check", "-c", path, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.returncode, result.stdout.splitlines(), result.stderr


def folder_with_a_leftover(folder: Path, age: float) -> Path:
    """A registry's folder in which a put was interrupted some seconds ago."""
    root = folder / "registry"
    tags = root / "docker" / "tags"
    tags.mkdir(parents=True)
    (tags / "link").write_text("sha256:aa")
    (tags / LEFTOVER).write_text("sha")
    written = time.time() - age
    os.utime(tags / LEFTOVER, (written, written))
    return root


def test_storage_in_order_is_ok(tmp_path: Path) -> None:
    status, lines, errors = check(f"{{filesystem: {{rootdirectory: {tmp_path}/registry}}}}", tmp_path)
    assert (status, lines, errors) == (0, ["storage ok"], "")
    assert check("inmemory", tmp_path)[0] == 0


def test_what_is_found_is_printed_and_removed_only_when_asked_for(tmp_path: Path) -> None:
    root = folder_with_a_leftover(tmp_path, age=7200)
    config = f"{{filesystem: {{rootdirectory: {root}}}}}"
    found = f"a file that was never put in its place: /docker/tags/{LEFTOVER}"

    assert check(config, tmp_path)[:2] == (1, [found, "1 found, 0 repaired"])
    assert (root / "docker/tags" / LEFTOVER).exists()
    assert check(config, tmp_path, "--repair")[:2] == (0, [f"{found}: repaired", "1 found, 1 repaired"])
    assert [path.name for path in (root / "docker/tags").iterdir()] == ["link"]
    assert check(config, tmp_path)[:2] == (0, ["storage ok"])


def test_what_is_found_can_be_read_by_a_program(tmp_path: Path) -> None:
    root = folder_with_a_leftover(tmp_path, age=7200)
    status, lines, _ = check(f"{{filesystem: {{rootdirectory: {root}}}}}", tmp_path, "--json")
    assert status == 1
    assert [json.loads(line) for line in lines] == [
        {
            "kind": "a file that was never put in its place",
            "subject": f"/docker/tags/{LEFTOVER}",
            "detail": "",
            "repaired": False,
        },
        {"found": 1, "repaired": 0},
    ]


def test_what_is_younger_than_an_hour_or_as_said_is_left_alone(tmp_path: Path) -> None:
    root = folder_with_a_leftover(tmp_path, age=600)
    config = f"{{filesystem: {{rootdirectory: {root}}}}}"
    assert check(config, tmp_path, "--repair")[:2] == (0, ["storage ok"])
    assert check(config, tmp_path, "--older-than", "5m")[0] == 1
    status, _, errors = check(config, tmp_path, "--older-than", "soon")
    assert status == 2
    assert "soon" in errors


def test_a_configuration_that_does_not_hold_is_refused(tmp_path: Path) -> None:
    status, lines, errors = check("{rados: {poolname: a, conffile: /no/such/file}}", tmp_path)
    assert (status, lines) == (2, [])
    assert errors == "moorage: storage.rados.conffile: cannot read /no/such/file\n"
