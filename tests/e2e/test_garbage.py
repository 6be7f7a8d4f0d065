"""`moorage garbage-collect`, beside the collector of the registry that Moorage replaces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.client import V2Client, expect
from support.images import make_image, make_index
from support.registry import Up, clean_environment, running_up

MOORAGE = Path(sys.executable).with_name("moorage")


def configuration(folder: Path, root: Path) -> Path:
    """A configuration that both registries read."""
    path = folder / "gc.yml"
    path.write_text(
        f"version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {root}}}\n  delete: {{enabled: true}}\n"
    )
    return path


def run(*command: str | Path, env: dict[str, str] | None = None, status: int = 0) -> str:
    done = subprocess.run(
        command, env=env or clean_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def tree(root: Path) -> set[str]:
    """Every file of a storage tree that is not Moorage's alone."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "/_manifests/referrers/" not in str(path)
    }


def blobs(root: Path) -> set[str]:
    return {path for path in tree(root) if path.startswith("docker/registry/v2/blobs/")}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage tree with deleted, moved and untagged images, indexes, and blobs that nothing needs."""
    folder = tmp_path_factory.mktemp("filled")
    with running_up(folder) as up, V2Client(up.url) as client:
        for seed in range(6):
            client.push_image("team/app", f"v{seed}", make_image(900 + seed))
            client.push_image("team/app", "latest", make_image(900 + seed))
        for repository in ("team/app", "team/other", "solo"):
            client.push_index(repository, "index", make_index(910))
        expect(client.http.delete(f"/v2/team/app/manifests/{make_image(901).manifest.digest}"), 202)
        expect(client.http.delete("/v2/team/app/manifests/v2"), 202)
        expect(client.http.delete("/v2/solo/manifests/index"), 202)
        client.push_blob("team/app", b"nobody needs this")
    return folder / "registry"


@pytest.mark.parametrize("options", [(), ("--delete-untagged",)], ids=["plain", "delete-untagged"])
def test_a_stopped_registry_is_left_with_the_blobs_that_docker_registry_leaves(
    filled: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        shutil.copytree(filled, root)
        (tmp_path / f"of-{root.name}").mkdir()
    run(MOORAGE, "garbage-collect", *options, configuration(tmp_path / "of-ours", ours))
    # 2.8 removes the children of a tagged index with -m (its issue 3178): there Moorage must keep more.
    run("docker-registry", "garbage-collect", *options, configuration(tmp_path / "of-theirs", theirs))
    if options:
        assert blobs(ours) > blobs(theirs)
    else:
        assert blobs(ours) == blobs(theirs)
    with (
        running_up(tmp_path / "after", storage={"filesystem": {"rootdirectory": str(ours)}}) as up,
        V2Client(up.url) as client,
    ):
        client.assert_holds("team/app", "latest", make_image(905))
        for child in make_index(910).children:
            client.assert_holds("team/other", child.manifest.digest, child)
        unknown = client.get_manifest("solo", make_index(910).manifest.digest)
        expect(unknown, 404 if options else 200)


def test_a_dry_run_changes_no_file(filled: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, filled)
    before = tree(filled)
    out = run(MOORAGE, "garbage-collect", "-d", "-m", config)
    assert tree(filled) == before
    assert "eligible for deletion" in out


def test_json_and_quiet_output(filled: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, filled)
    events = [
        json.loads(line) for line in run(MOORAGE, "garbage-collect", "-d", "--json", config).splitlines()
    ]
    assert {next(iter(event)) for event in events} == {"repository", "marked", "eligible", "summary"}
    summary = events[-1]["summary"]
    (line,) = run(MOORAGE, "garbage-collect", "-d", "-q", config).splitlines()
    assert line.startswith(f"{summary['marked']} blobs marked, {summary['blobs']} blobs and 0 manifests")


@pytest.fixture
def collect(tmp_path: Path) -> Callable[..., str]:
    """Runs the operator's command with the environment of a registry that runs."""

    def collect(up: Up, *options: str, status: int = 0) -> str:
        return run(MOORAGE, "garbage-collect", *options, env=up.env, status=status)

    return collect


def test_a_registry_that_takes_pushes_refuses_and_keeps_everything(
    tmp_path: Path, collect: Callable[..., Any]
) -> None:
    with running_up(tmp_path) as up, V2Client(up.url) as client:
        client.push_blob("team/app", b"in the middle of a push")
        before = tree(up.root)
        assert "takes pushes" in collect(up, status=1)
        assert tree(up.root) == before


def test_a_running_read_only_registry_forgets_what_was_collected(
    filled: Path, tmp_path: Path, collect: Callable[..., Any]
) -> None:
    root = tmp_path / "registry"
    shutil.copytree(filled, root)
    with running_up(tmp_path, {"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true"}) as up:
        untagged = make_image(902).manifest.digest
        with V2Client(up.url) as client:
            # The gateway has it in its memory now.
            expect(client.get_manifest("team/app", untagged), 200)
            collect(up, "--delete-untagged")
            expect(client.get_manifest("team/app", untagged), 404)
            client.assert_holds("team/app", "latest", make_image(905))


def test_content_in_memory_alone_is_a_configuration_error(tmp_path: Path) -> None:
    config = tmp_path / "memory.yml"
    config.write_text("version: 0.1\nstorage: {inmemory: {}}\n")
    assert "storage.inmemory" in run(MOORAGE, "garbage-collect", config, status=2)
